// How a client of the second TypeScript SDK logs in: by the providers that come with it,
// and one that does not. sdk.mjs and workload.mjs log in so at Wicketgate, and
// scenario.mjs at the servers of the conformance suite.
import { randomUUID } from 'node:crypto';
import {
    ClientCredentialsProvider, CrossAppAccessProvider, discoverAndRequestJwtAuthGrant, DpopSession, PrivateKeyJwtProvider,
    requestJwtAuthorizationGrant, StreamableHTTPClientTransport, UnauthorizedError,
} from '@modelcontextprotocol/client';

const jwtBearer = 'urn:ietf:params:oauth:grant-type:jwt-bearer';

// federated is what the SDK has no provider for: its platform tells the server who this
// is (RFC 7523 §2.1), and the client has no credential of its own.
function federated({ clientId, assertion }) {
    const store = {};
    return {
        redirectUrl: undefined,
        clientMetadata: { redirect_uris: [], grant_types: [jwtBearer], token_endpoint_auth_method: 'none' },
        clientInformation: () => ({ client_id: clientId }),
        tokens: () => store.tokens,
        saveTokens: (tokens) => { store.tokens = tokens; },
        prepareTokenRequest: (scope) => new URLSearchParams({ grant_type: jwtBearer, assertion, ...(scope && { scope }) }),
    };
}

// managed has what is known of the IdP in idp: idToken, clientId, clientSecret, and
// idpUrl to discover its endpoints, or else its tokenEndpoint.
function managed({ idp, ...options }) {
    const request = idp.tokenEndpoint ? requestJwtAuthorizationGrant : discoverAndRequestJwtAuthGrant;
    const assertion = async ({ authorizationServerUrl: audience, resourceUrl: resource, scope, fetchFn }) =>
        (await request({ ...idp, audience, resource, scope, fetchFn })).jwtAuthGrant;
    return new CrossAppAccessProvider({ ...options, assertion });
}

const kinds = {
    ClientCredentials: (options) => new ClientCredentialsProvider(options),
    PrivateKeyJwt: (options) => new PrivateKeyJwtProvider(options),
    CrossAppAccess: managed,
    Federated: federated,
};

// bind has a provider's tokens bound to a key (RFC 9449).
async function bind(provider) {
    const session = await DpopSession.create();
    provider.dpop = () => session;
}

// workload is a provider without a person.
export async function workload(kind, { dpop, ...options }) {
    const provider = kinds[kind](options);
    if (dpop) await bind(provider);
    return provider;
}

// person is a provider with one. Everything is in memory; what the SDK saves is kept
// unchanged, as it asks for.
export async function person({ clientName, redirectUri, dpop }) {
    const store = {};
    const provider = {
        redirectUrl: redirectUri,
        clientMetadata: { client_name: clientName, redirect_uris: [redirectUri], token_endpoint_auth_method: 'none' },
        state: () => (store.state = randomUUID()),
        clientInformation: () => store.client,
        saveClientInformation: (client) => { store.client = client; },
        tokens: () => store.tokens,
        saveTokens: (tokens) => { store.tokens = tokens; },
        codeVerifier: () => store.verifier,
        saveCodeVerifier: (verifier) => { store.verifier = verifier; },
        redirectToAuthorization: (url) => { store.authorize = url.href; },
    };
    if (dpop) await bind(provider);
    return { provider, store };
}

// connect connects, with a login at the browser where there is one: browse opens a URL
// and returns where the browser was sent. A client connects once; after a failed attempt
// the SDK wants a new transport.
export async function connect(client, resource, provider, store, browse) {
    const transport = () => new StreamableHTTPClientTransport(new URL(resource), { authProvider: provider });
    const first = transport();
    try {
        await client.connect(first);
        return;
    } catch (error) {
        if (!(error instanceof UnauthorizedError) || !browse) throw error;
    }
    const { searchParams } = new URL(await browse(store.authorize));
    if (searchParams.get('state') !== store.state) throw new Error('state differs');
    await first.finishAuth(searchParams); // which checks iss
    await client.connect(transport());
}
