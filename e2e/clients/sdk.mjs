// The second TypeScript SDK's client, driven by sdk2_test.go over the JSON lines
// that ts/client.mjs describes.
//
//   node sdk.mjs RESOURCE CLIENT_NAME REDIRECT_URI [MODE] [dpop]
//
// MODE is how it finds the revision of MCP to speak: legacy (the SDK's default), auto, or the
// one revision that it must be. With dpop its tokens are bound to a key (RFC 9449).
import { auth, Client } from '@modelcontextprotocol/client';
import { drive } from './drive.mjs';
import { ask } from './lines.mjs';
import { connect, person } from './providers.mjs';

const [resource, clientName, redirectUri, ...options] = process.argv.slice(2);
const [named = 'legacy'] = options.filter((option) => option !== 'dpop');
const mode = ['legacy', 'auto'].includes(named) ? named : { pin: named };

const { provider, store } = await person({ clientName, redirectUri, dpop: options.includes('dpop') });
const client = new Client({ name: 'e2e', version: '1' }, { versionNegotiation: { mode } });

const browse = async (authorize) => (await ask({ authorize })).redirect;

async function refresh() {
    const before = store.tokens;
    await auth(provider, { serverUrl: resource });
    return store.tokens.access_token !== before.access_token;
}

await drive(client, () => connect(client, resource, provider, store, browse), { refresh, tokens: provider.tokens });
