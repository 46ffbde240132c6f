// The clients of sdk.mjs and workload.mjs as the conformance suite runs one, which tells
// the scenario and what it needs in the environment:
//
//   node scenario.mjs URL
import { Client } from '@modelcontextprotocol/client';
import { connect, person, workload } from './providers.mjs';

const url = process.argv.at(-1);
const { client_id: clientId, client_secret: clientSecret, ...context } = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? '{}');
const client = new Client({ name: 'e2e', version: '1' });

const scenarios = {
    'auth/client-credentials-jwt': () =>
        workload('PrivateKeyJwt', { clientId, privateKey: context.private_key_pem, algorithm: context.signing_algorithm }),
    'auth/client-credentials-basic': () => workload('ClientCredentials', { clientId, clientSecret }),
    'auth/enterprise-managed-authorization': () => workload('CrossAppAccess', {
        clientId, clientSecret,
        idp: { tokenEndpoint: context.idp_token_endpoint, idToken: context.idp_id_token, clientId: context.idp_client_id },
    }),
    'auth/wif-jwt-bearer': () => workload('Federated', { clientId, assertion: context.valid_jwt }),
};

const name = process.env.MCP_CONFORMANCE_SCENARIO;
if (scenarios[name]) {
    await connect(client, url, await scenarios[name]());
} else {
    const { provider, store } = await person({ clientName: 'e2e', redirectUri: 'http://127.0.0.1:33418/callback', dpop: name.startsWith('auth/dpop') });
    const browse = async (authorize) => (await fetch(authorize, { redirect: 'manual' })).headers.get('location');
    await connect(client, url, provider, store, browse);
}
await client.listTools();
await client.close();
