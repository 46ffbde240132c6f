// What openid-client.mjs and oauth4webapi.mjs have in common. Driven by
// strict_test.go, each reads commands {"do": CASE, ...}, and answers each with
// {"done": {...}} or {"error": "..."}. Before that it may print {"browse": URL},
// and wants {"redirect": URL}; or {"device": URL}, and wants {} once the person has
// agreed.
import { print, read } from './lines.mjs';

export const [issuer, resource, redirectUri] = process.argv.slice(2);

// The first message of an MCP client.
export const mcpHeaders = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };
export const initialize = JSON.stringify({
    jsonrpc: '2.0', id: 1, method: 'initialize',
    params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'strict', version: '1' } },
});

// metadataOf is what a client registers that authenticates by the method.
export async function metadataOf(method, grantTypes, key) {
    return {
        client_name: 'Strict client under test',
        redirect_uris: [redirectUri],
        grant_types: grantTypes,
        response_types: grantTypes.includes('authorization_code') ? ['code'] : [],
        token_endpoint_auth_method: method,
        ...(key && { jwks: { keys: [key.jwk] } }),
    };
}

// newKey is a key pair for private_key_jwt.
export async function newKey() {
    const { privateKey, publicKey } = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
    const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', publicKey);
    return { key: privateKey, kid: 'k1', jwk: { kty, crv, x, y, kid: 'k1', use: 'sig', alg: 'ES256' } };
}

// keyOf is the key of a JWK with the private half.
export async function keyOf(jwk) {
    const key = await crypto.subtle.importKey('jwk', { ...jwk, use: undefined }, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign']);
    return { key, kid: jwk.kid };
}

export async function serve(cases) {
    for (let command = await read(); command; command = await read()) {
        try {
            print({ done: await cases[command.do](command) });
        } catch (error) {
            const { code = '', error: oauthError = '', error_description: description = '' } = error;
            print({ error: [error.message, code, oauthError, description, error.cause?.message].filter(Boolean).join(': ') });
        }
    }
}
