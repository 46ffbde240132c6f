// What sdk.mjs and workload.mjs have in common: once connected, the commands that
// ts/client.mjs describes, and one that gives the client's tokens away:
//
//   {"steal": true}                          {"stolen": {access_token, token_type, ...}}
import { ProtocolError } from '@modelcontextprotocol/client';
import { print, read } from './lines.mjs';

async function execute(client, command, { refresh, tokens }) {
    if (command.list) {
        return { tools: (await client.listTools()).tools.map((tool) => tool.name) };
    }
    if (command.call) {
        const { isError = false, content, structuredContent = null } = await client.callTool(command.call);
        const text = content.filter((part) => part.type === 'text').map((part) => part.text).join('');
        return { result: { isError, text, structured: structuredContent } };
    }
    if (command.refresh) {
        return { refreshed: await refresh() };
    }
    if (command.steal) {
        return { stolen: await tokens() };
    }
    throw new Error(`unknown command ${JSON.stringify(command)}`);
}

const wire = (error) => ({ error: { code: error instanceof ProtocolError ? error.code : 0, message: String(error.message) } });

export async function drive(client, connect, own) {
    try {
        await connect();
        print({ connected: true });
        for (let command = await read(); command; command = await read()) {
            print(await execute(client, command, own).catch(wire));
        }
        await client.close();
    } catch (error) {
        print(wire(error));
        process.exitCode = 1;
    }
}
