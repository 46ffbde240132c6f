// The cases of strict_test.go with oauth4webapi, which leaves nothing of an answer
// unchecked: media types, token types, issuers, and access tokens by RFC 9068.
//
//   node oauth4webapi.mjs ISSUER RESOURCE REDIRECT_URI
import * as oauth from 'oauth4webapi';
import { ask } from './lines.mjs';
import { initialize, issuer, keyOf, mcpHeaders, metadataOf, newKey, redirectUri, resource, serve } from './strict.mjs';

const options = { [oauth.allowInsecureRequests]: true }; // for http, on loopback
const scope = 'mcp:tools';

// From the refused request to the authorization server, as RFC 9728 §5 has it.
async function discover() {
    const challenges = await oauth.protectedResourceRequest('none', 'POST', new URL(resource), undefined, undefined, options)
        .then(() => [], (error) => error.cause);
    const url = new URL(challenges[0].parameters.resource_metadata);
    const found = await oauth.processResourceDiscoveryResponse(new URL(resource), await fetch(url));
    await oauth.processResourceDiscoveryResponse(new URL(resource), await oauth.resourceDiscoveryRequest(new URL(resource), options));
    const server = new URL(found.authorization_servers[0]);
    return oauth.processDiscoveryResponse(server, await oauth.discoveryRequest(server, { ...options, algorithm: 'oauth2' }));
}

const as = await discover();
if (as.issuer !== issuer) throw new Error(`found ${as.issuer}`);

const authentication = (method, { client_secret: secret, key }) => ({
    none: oauth.None,
    client_secret_basic: () => oauth.ClientSecretBasic(secret),
    client_secret_post: () => oauth.ClientSecretPost(secret),
    private_key_jwt: () => oauth.PrivateKeyJwt(key),
})[method]();

// register returns the client and how it authenticates, as most functions take them.
async function register(method, grantTypes = ['authorization_code', 'refresh_token']) {
    const key = method === 'private_key_jwt' ? await newKey() : undefined;
    const response = await oauth.dynamicClientRegistrationRequest(as, await metadataOf(method, grantTypes, key), options);
    const client = await oauth.processDynamicClientRegistrationResponse(response);
    return [client, authentication(method, { ...client, key })];
}

// checked has a resource server look at the access token (RFC 9068 §4).
async function checked(tokens) {
    const request = new Request(resource, { headers: { authorization: `Bearer ${tokens.access_token}` } });
    await oauth.validateJwtAccessToken(as, request, resource, options);
    return tokens;
}

async function refreshed(client, auth, first) {
    const response = await oauth.refreshTokenGrantRequest(as, client, auth, first.refresh_token, options);
    const second = await oauth.processRefreshTokenResponse(as, client, response);
    return { client: client.client_id, tokens: [await checked(first), await checked(second)] };
}

async function pushed(client, auth, parameters) {
    const response = await oauth.pushedAuthorizationRequest(as, client, auth, parameters, options);
    const { request_uri } = await oauth.processPushedAuthorizationResponse(as, client, response);
    return { client_id: client.client_id, request_uri };
}

async function code(client, auth, par) {
    const verifier = oauth.generateRandomCodeVerifier();
    const state = oauth.generateRandomState();
    const parameters = {
        client_id: client.client_id, response_type: 'code', redirect_uri: redirectUri, scope, state, resource,
        code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
    };
    const url = new URL(as.authorization_endpoint);
    url.search = new URLSearchParams(par ? await pushed(client, auth, parameters) : parameters);
    const { redirect } = await ask({ browse: url.href });
    const back = oauth.validateAuthResponse(as, client, new URL(redirect), state);
    const response = await oauth.authorizationCodeGrantRequest(as, client, auth, back, redirectUri, verifier,
        { ...options, additionalParameters: { resource } });
    return oauth.processAuthorizationCodeResponse(as, client, response);
}

// proved is the function with DPoP, and once more with the nonce that the server asks for
// (RFC 9449 §8, §9).
async function proved(DPoP, f) {
    const once = () => f({ ...options, DPoP });
    return once().catch((error) => (oauth.isDPoPNonceError(error) ? once() : Promise.reject(error)));
}

async function introspect(client, auth, token) {
    return oauth.processIntrospectionResponse(as, client, await oauth.introspectionRequest(as, client, auth, token, options));
}

await serve({
    async code({ method, par }) {
        const [client, auth] = await register(method);
        return refreshed(client, auth, await code(client, auth, par));
    },

    async credentials({ id, secret, jwk, method }) {
        const client = { client_id: id };
        const auth = authentication(method, { client_secret: secret, key: jwk && await keyOf(jwk) });
        const response = await oauth.clientCredentialsGrantRequest(as, client, auth, { resource, scope }, options);
        return { client: id, tokens: [await checked(await oauth.processClientCredentialsResponse(as, client, response))] };
    },

    async device() {
        const [client, auth] = await register('none', ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token']);
        const response = await oauth.deviceAuthorizationRequest(as, client, auth, { scope, resource }, options);
        const device = await oauth.processDeviceAuthorizationResponse(as, client, response);
        const poll = async () => oauth.processDeviceCodeResponse(as, client, await oauth.deviceCodeGrantRequest(as, client, auth, device.device_code, options));
        const pending = await poll().then(() => '', ({ error }) => error);
        if (pending !== 'authorization_pending') throw new Error(`before the person agreed: ${pending}`);
        await ask({ device: device.verification_uri_complete, code: device.user_code });
        await new Promise((resolve) => { setTimeout(resolve, (device.interval ?? 5) * 1000); });
        return refreshed(client, auth, await poll());
    },

    async dpop() {
        const [client, auth] = await register('none');
        const DPoP = oauth.DPoP(client, await oauth.generateKeyPair('ES256'));
        const verifier = oauth.generateRandomCodeVerifier();
        const url = new URL(as.authorization_endpoint);
        url.search = new URLSearchParams({
            client_id: client.client_id, response_type: 'code', redirect_uri: redirectUri, scope, state: 's', resource,
            code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256', dpop_jkt: await DPoP.calculateThumbprint(),
        });
        const { redirect } = await ask({ browse: url.href });
        const back = oauth.validateAuthResponse(as, client, new URL(redirect), 's');
        const first = await proved(DPoP, async (o) => oauth.processAuthorizationCodeResponse(as, client,
            await oauth.authorizationCodeGrantRequest(as, client, auth, back, redirectUri, verifier, o)));
        const second = await proved(DPoP, async (o) => oauth.processRefreshTokenResponse(as, client,
            await oauth.refreshTokenGrantRequest(as, client, auth, first.refresh_token, o)));
        const statuses = [];
        for (const { access_token: accessToken } of [first, second]) {
            const response = await proved(DPoP, (o) => oauth.protectedResourceRequest(accessToken, 'POST', new URL(resource), new Headers(mcpHeaders), initialize, o));
            statuses.push(response.status);
        }
        return { client: client.client_id, tokens: [first, second], statuses };
    },

    async revoke() {
        const [client, auth] = await register('client_secret_basic');
        const { access_token: accessToken, refresh_token: refreshToken } = await code(client, auth, false);
        const before = await introspect(client, auth, accessToken);
        await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, auth, refreshToken, options));
        const after = [await introspect(client, auth, accessToken), await introspect(client, auth, refreshToken)];
        return { client: client.client_id, before, after };
    },
});
