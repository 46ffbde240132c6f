// An OIDC provider nobody here wrote (npm oidc-provider), as an organisation's IdP
// for tests, on 127.0.0.1.
//
//   node idp.mjs '{"port": 0, "redirectURIs": [URI], "clientSecret": SECRET}'
//
// It prints {"issuer": URL} in a line of its own once it listens (other lines are
// the provider's notices) and ends with its input. Port 0 is any free port.
//
// Clients, all with those redirect URIs, authorization code and PKCE only:
//   wicketgate           client_secret_basic, ID tokens signed with RS256
//   wicketgate-public    no secret
//   wicketgate-PS256, -ES256, -EdDSA    client_secret_basic, that algorithm
//
// People: see below. The password is the name and "-password". Scopes: openid,
// profile (preferred_username), email, groups (also realm_access), org
// (department, cost_centre).
//
// Pages, each one form to post to its own URL:
//   login      login, password, code (optional; 000000 is right and makes the acr
//              urn:idp:mfa instead of urn:idp:pwd), answer = login | decline
//   consent    answer = allow | decline; only for prompt=consent
// login_hint is the first value of the field login. A wrong password or code is
// 401 and the page again. A session whose acr is none of acr_values must log in
// again; one who cannot do better gets in with the acr there is, as with an IdP
// that takes acr_values for the voluntary wish that it is.
import { createServer } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import Provider, { interactionPolicy } from 'oidc-provider';

const options = JSON.parse(process.argv[2]);
const mfa = 'urn:idp:mfa';
const pwd = 'urn:idp:pwd';

const people = {
    alice: {
        email: 'alice@example.org', email_verified: true, preferred_username: 'alice',
        groups: ['engineering', 'Mail Readers'], realm_access: { roles: ['developer', 'operator'] },
        department: 'Engineering', cost_centre: 4711,
    },
    bob: {
        email: 'bob@example.org', email_verified: true, preferred_username: 'bob',
        groups: ['finance'], realm_access: { roles: ['approver'] },
        department: 'Finance', cost_centre: 4712,
    },
    // mallory has set what people may set about themselves to what alice has.
    mallory: {
        email: 'alice@example.org', email_verified: false, preferred_username: 'alice',
        groups: [], department: 'Engineering', cost_centre: 4713,
    },
    // trent is in more groups than anybody needs.
    trent: {
        email: 'trent@example.org', email_verified: true, preferred_username: 'trent',
        groups: Array.from({ length: 300 }, (_, i) => `group-${i}`),
    },
};

const key = (alg, type, parameters) => ({
    ...generateKeyPairSync(type, parameters).privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: `key-${alg}`,
});

const client = (name, rest) => ({
    client_id: name,
    redirect_uris: options.redirectURIs,
    grant_types: ['authorization_code'],
    response_types: ['code'],
    ...(rest.token_endpoint_auth_method === 'none' ? {} : { client_secret: options.clientSecret }),
    ...rest,
});

const policy = interactionPolicy.base();
policy.get('login').checks.add(new interactionPolicy.Check('acr_values', 'the session is too weak for acr_values', ({ oidc }) => {
    const wanted = oidc.params.acr_values?.split(' ') ?? [];
    return wanted.length > 0 && !oidc.result?.login && !wanted.includes(oidc.session.acr);
}));

// grantAll gives the client what it asks for, as for a service of the house.
async function grantAll(provider, accountId, clientId, scope) {
    const grant = new provider.Grant({ accountId, clientId });
    grant.addOIDCScope(scope);
    await grant.save();
    return grant;
}

const configuration = {
    clients: [
        client('wicketgate', {}),
        client('wicketgate-public', { token_endpoint_auth_method: 'none' }),
        ...['PS256', 'ES256', 'EdDSA'].map((alg) => client(`wicketgate-${alg}`, { id_token_signed_response_alg: alg })),
    ],
    jwks: { keys: [
        key('RS256', 'rsa', { modulusLength: 2048 }),
        key('PS256', 'rsa', { modulusLength: 2048 }),
        key('ES256', 'ec', { namedCurve: 'P-256' }),
        key('EdDSA', 'ed25519'),
    ] },
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA'] },
    cookies: { keys: ['of a test'] },
    acrValues: [pwd, mfa],
    responseTypes: ['code'],
    scopes: ['openid'],
    claims: {
        openid: ['sub'], profile: ['preferred_username'], email: ['email', 'email_verified'],
        groups: ['groups', 'realm_access'], org: ['department', 'cost_centre'],
    },
    conformIdTokenClaims: false, // what scopes ask for is in the ID token, as with most organisations' IdPs
    features: { devInteractions: { enabled: false } },
    interactions: { policy, url: (_, interaction) => `/interaction/${interaction.uid}` },
    findAccount: (_, id) => people[id] && { accountId: id, claims: () => ({ sub: id, ...people[id] }) },
    async loadExistingGrant({ oidc }) {
        const id = oidc.result?.consent?.grantId ?? oidc.session.grantIdFor(oidc.client.clientId);
        const grant = id && await oidc.provider.Grant.find(id);
        return grant || grantAll(oidc.provider, oidc.session.accountId, oidc.client.clientId, oidc.params.scope);
    },
    ttl: { AccessToken: 600, AuthorizationCode: 60, Grant: 3600, IdToken: 600, Interaction: 600, Session: 3600 },
};

const escape = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

function page(res, status, title, fields) {
    res.writeHead(status, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' });
    res.end(`<!DOCTYPE html><title>${title}</title><h1>${title}</h1><form method="post">${fields}</form>`);
}

const pages = {
    login: (res, { params }, status = 200) => page(res, status, 'Log in', `
        <input name="login" value="${escape(params.login_hint ?? '')}">
        <input name="password" type="password"><input name="code">
        <button name="answer" value="login">Log in</button><button name="answer" value="decline">Cancel</button>`),
    consent: (res) => page(res, 200, 'Allow access?', `
        <button name="answer" value="allow">Allow</button><button name="answer" value="decline">Decline</button>`),
};

const answers = {
    async login(form) {
        const name = form.get('login');
        const code = form.get('code') ?? '';
        if (!Object.hasOwn(people, name) || form.get('password') !== `${name}-password` || !['', '000000'].includes(code)) {
            return undefined;
        }
        return { login: { accountId: name, acr: code ? mfa : pwd, amr: code ? ['pwd', 'otp'] : ['pwd'] } };
    },
    async consent(_, { params, session }, provider) {
        const grant = await grantAll(provider, session.accountId, params.client_id, params.scope);
        return { consent: { grantId: grant.jti } };
    },
};

async function body(req) {
    const parts = [];
    for await (const part of req) parts.push(part);
    return new URLSearchParams(Buffer.concat(parts).toString());
}

async function interact(provider, req, res) {
    const details = await provider.interactionDetails(req, res);
    const { name } = details.prompt;
    if (req.method !== 'POST') {
        pages[name](res, details);
        return;
    }
    const form = await body(req);
    if (form.get('answer') === 'decline') {
        await provider.interactionFinished(req, res, { error: 'access_denied', error_description: 'the person said "no"' });
        return;
    }
    const result = await answers[name](form, details, provider);
    if (result) await provider.interactionFinished(req, res, result, { mergeWithLastSubmission: true });
    else pages.login(res, details, 401);
}

const server = createServer();
server.listen(options.port, '127.0.0.1', () => {
    const issuer = `http://127.0.0.1:${server.address().port}`;
    const provider = new Provider(issuer, configuration);
    provider.on('server_error', (_, error) => console.error(error));
    const callback = provider.callback();
    server.on('request', (req, res) => {
        if (!req.url.startsWith('/interaction/')) {
            callback(req, res);
            return;
        }
        interact(provider, req, res).catch((error) => {
            console.error(error);
            res.writeHead(400).end('the login has ended');
        });
    });
    console.log(JSON.stringify({ issuer }));
});
process.stdin.resume().on('end', () => process.exit(0));
