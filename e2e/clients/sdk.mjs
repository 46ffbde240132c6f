// The second TypeScript SDK's client, driven by sdk2_test.go over the JSON lines
// that ts/client.mjs describes.
//
//   node sdk.mjs RESOURCE CLIENT_NAME REDIRECT_URI [dpop]
//
// With dpop its tokens are bound to a key (RFC 9449).
import { auth, Client } from '@modelcontextprotocol/client';
import { drive } from './drive.mjs';
import { ask } from './lines.mjs';
import { connect, person } from './providers.mjs';

const [resource, clientName, redirectUri, binding] = process.argv.slice(2);

const { provider, store } = await person({ clientName, redirectUri, dpop: binding === 'dpop' });
const client = new Client({ name: 'e2e', version: '1' });

const browse = async (authorize) => (await ask({ authorize })).redirect;

async function refresh() {
    const before = store.tokens;
    await auth(provider, { serverUrl: resource });
    return store.tokens.access_token !== before.access_token;
}

await drive(client, () => connect(client, resource, provider, store, browse), { refresh, tokens: provider.tokens });
