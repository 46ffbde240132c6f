// The second TypeScript SDK's client, driven by sdk2_test.go over the JSON lines
// that ts/client.mjs describes.
//
//   node sdk.mjs RESOURCE CLIENT_NAME REDIRECT_URI
import { randomUUID } from 'node:crypto';
import { auth, Client, ProtocolError, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client';
import { ask, print, read } from './lines.mjs';

const [resource, clientName, redirectUri] = process.argv.slice(2);

// Everything in memory; what the SDK saves is kept unchanged, as it asks for.
const store = {};
const provider = {
    redirectUrl: redirectUri,
    clientMetadata: {
        client_name: clientName,
        redirect_uris: [redirectUri],
        token_endpoint_auth_method: 'none',
    },
    state: () => (store.state = randomUUID()),
    clientInformation: () => store.client,
    saveClientInformation: (client) => { store.client = client; },
    tokens: () => store.tokens,
    saveTokens: (tokens) => { store.tokens = tokens; },
    codeVerifier: () => store.verifier,
    saveCodeVerifier: (verifier) => { store.verifier = verifier; },
    redirectToAuthorization: (url) => { store.authorize = url.href; },
};

const transport = () => new StreamableHTTPClientTransport(new URL(resource), { authProvider: provider });
const client = new Client({ name: 'e2e', version: '1' });

// A client connects once; after a failed attempt the SDK wants a new transport.
async function connect() {
    const first = transport();
    try {
        await client.connect(first);
        return;
    } catch (error) {
        if (!(error instanceof UnauthorizedError)) throw error;
    }
    const { redirect } = await ask({ authorize: store.authorize });
    const { searchParams } = new URL(redirect);
    if (searchParams.get('state') !== store.state) throw new Error('state differs');
    await first.finishAuth(searchParams); // which checks iss
    await client.connect(transport());
}

async function execute(command) {
    if (command.list) {
        return { tools: (await client.listTools()).tools.map((tool) => tool.name) };
    }
    if (command.call) {
        const { isError = false, content, structuredContent = null } = await client.callTool(command.call);
        const text = content.filter((part) => part.type === 'text').map((part) => part.text).join('');
        return { result: { isError, text, structured: structuredContent } };
    }
    if (command.refresh) {
        const before = store.tokens;
        await auth(provider, { serverUrl: resource });
        return { refreshed: store.tokens.access_token !== before.access_token };
    }
    throw new Error(`unknown command ${JSON.stringify(command)}`);
}

const wire = (error) => ({ error: { code: error instanceof ProtocolError ? error.code : 0, message: String(error.message) } });

try {
    await connect();
    print({ connected: true });
    for (let command = await read(); command; command = await read()) {
        print(await execute(command).catch(wire));
    }
    await client.close();
} catch (error) {
    print(wire(error));
    process.exitCode = 1;
}
