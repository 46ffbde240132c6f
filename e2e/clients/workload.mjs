// The second TypeScript SDK's client for those who log in without a browser. Driven as
// sdk.mjs is.
//
//   node workload.mjs RESOURCE KIND OPTIONS
//
// KIND and OPTIONS, in JSON, are for providers.mjs.
import { Client } from '@modelcontextprotocol/client';
import { drive } from './drive.mjs';
import { connect, workload } from './providers.mjs';

const [resource, kind, options] = process.argv.slice(2);
const provider = await workload(kind, JSON.parse(options));
const client = new Client({ name: 'e2e', version: '1' });
await drive(client, () => connect(client, resource, provider), { tokens: () => provider.tokens() });
