// The cases of strict_test.go with openid-client.
//
//   node openid-client.mjs ISSUER RESOURCE REDIRECT_URI
import * as oauth from 'openid-client';
import { ask } from './lines.mjs';
import { initialize, issuer, keyOf, mcpHeaders, metadataOf, newKey, redirectUri, resource, serve } from './strict.mjs';

const server = new URL(issuer);
const options = { execute: [oauth.allowInsecureRequests] }; // for http, on loopback
const scope = 'mcp:tools';

const authentication = (method, key) => ({
    none: oauth.None,
    client_secret_basic: oauth.ClientSecretBasic,
    client_secret_post: oauth.ClientSecretPost,
    private_key_jwt: () => oauth.PrivateKeyJwt(key),
})[method]();

async function register(method, grantTypes = ['authorization_code', 'refresh_token']) {
    const key = method === 'private_key_jwt' ? await newKey() : undefined;
    return oauth.dynamicClientRegistration(server, await metadataOf(method, grantTypes, key), authentication(method, key), options);
}

// refreshed is the tokens, and those that the refresh token of the first gave.
async function refreshed(config, first) {
    return { client: config.clientMetadata().client_id, tokens: [first, await oauth.refreshTokenGrant(config, first.refresh_token)] };
}

async function code(config, par) {
    const verifier = oauth.randomPKCECodeVerifier();
    const state = oauth.randomState();
    const parameters = {
        redirect_uri: redirectUri, scope, state, resource,
        code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
    };
    const url = par ? await oauth.buildAuthorizationUrlWithPAR(config, parameters) : oauth.buildAuthorizationUrl(config, parameters);
    const { redirect } = await ask({ browse: url.href });
    return oauth.authorizationCodeGrant(config, new URL(redirect), { pkceCodeVerifier: verifier, expectedState: state }, { resource });
}

await serve({
    async code({ method, par }) {
        const config = await register(method);
        return refreshed(config, await code(config, par));
    },

    async credentials({ id, secret, jwk, method }) {
        const config = await oauth.discovery(server, id, secret, authentication(method, jwk && await keyOf(jwk)), options);
        return { client: id, tokens: [await oauth.clientCredentialsGrant(config, { resource, scope })] };
    },

    async device() {
        const config = await register('none', ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token']);
        const device = await oauth.initiateDeviceAuthorization(config, { scope, resource });
        await ask({ device: device.verification_uri, code: device.user_code });
        return refreshed(config, await oauth.pollDeviceAuthorizationGrant(config, device));
    },

    async dpop() {
        const config = await register('none');
        const DPoP = oauth.getDPoPHandle(config, await oauth.randomDPoPKeyPair('ES256'));
        const verifier = oauth.randomPKCECodeVerifier();
        const url = await oauth.buildAuthorizationUrlWithPAR(config, {
            redirect_uri: redirectUri, scope, state: 's', resource,
            code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
        }, { DPoP });
        const { redirect } = await ask({ browse: url.href });
        const first = await oauth.authorizationCodeGrant(config, new URL(redirect), { pkceCodeVerifier: verifier, expectedState: 's' }, undefined, { DPoP });
        const second = await oauth.refreshTokenGrant(config, first.refresh_token, undefined, { DPoP });
        const statuses = [];
        for (const { access_token: accessToken } of [first, second]) {
            const response = await oauth.fetchProtectedResource(config, accessToken, new URL(resource), 'POST', initialize, new Headers(mcpHeaders), { DPoP });
            statuses.push(response.status);
        }
        return { client: config.clientMetadata().client_id, tokens: [first, second], statuses };
    },

    async revoke() {
        const config = await register('client_secret_basic');
        const { access_token: accessToken, refresh_token: refreshToken } = await code(config, false);
        const before = await oauth.tokenIntrospection(config, accessToken);
        await oauth.tokenRevocation(config, refreshToken);
        const after = [await oauth.tokenIntrospection(config, accessToken), await oauth.tokenIntrospection(config, refreshToken)];
        return { client: config.clientMetadata().client_id, before, after };
    },
});
