// The TypeScript SDK's client, driven by tssdk_test.go over JSON lines.
//
//   node client.mjs RESOURCE CLIENT_NAME REDIRECT_URI
//
// It first connects. When that needs a login it prints {"authorize": URL} and
// wants {"redirect": URL}, where the browser was sent. Connected, it prints
// {"connected": true} and answers each command with one line:
//
//   {"list": true}                           {"tools": [names]}
//   {"call": {"name": N, "arguments": {}}}   {"result": {isError, text, structured}}
//   {"refresh": true}                        {"refreshed": true}
//
// or {"error": {"code", "message"}} when the SDK threw. It ends with its input.
import { createInterface } from 'node:readline';
import { randomUUID } from 'node:crypto';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { auth, UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js';

const [resource, clientName, redirectUri] = process.argv.slice(2);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const print = (message) => process.stdout.write(JSON.stringify(message) + '\n');

// Everything in memory; what the SDK saves is kept unchanged, as it asks for.
const store = {};
const provider = {
    redirectUrl: redirectUri,
    clientMetadata: {
        client_name: clientName,
        redirect_uris: [redirectUri],
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
        token_endpoint_auth_method: 'none',
    },
    state: () => (store.state = randomUUID()),
    clientInformation: () => store.client,
    saveClientInformation: (client) => { store.client = client; },
    tokens: () => store.tokens,
    saveTokens: (tokens) => { store.tokens = tokens; },
    codeVerifier: () => store.verifier,
    saveCodeVerifier: (verifier) => { store.verifier = verifier; },
    redirectToAuthorization: (url) => print({ authorize: url.href }),
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
    const redirect = new URL(JSON.parse((await lines.next()).value).redirect);
    if (redirect.searchParams.get('state') !== store.state) throw new Error('state differs');
    if (redirect.searchParams.has('error')) throw new Error(redirect.searchParams.get('error'));
    await first.finishAuth(redirect.searchParams.get('code'));
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

// An McpError's message has its code in front; the wire's has not.
const wire = (error) => ({
    error: {
        code: Number.isInteger(error.code) ? error.code : 0,
        message: String(error.message).replace(/^MCP error -?\d+: /, ''),
    },
});

try {
    await connect();
    print({ connected: true });
    for await (const line of lines) {
        print(await execute(JSON.parse(line)).catch(wire));
    }
    await client.close();
} catch (error) {
    print(wire(error));
    process.exitCode = 1;
}
