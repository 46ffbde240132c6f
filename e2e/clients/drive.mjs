// What sdk.mjs and workload.mjs have in common: once connected, the commands that
// ts/client.mjs describes, and these, of which the last gives the client's tokens away:
//
//   {"resources": true}                      {"names": [URIs]}
//   {"prompts": true}                        {"names": [names]}
//   {"read": URI}                            {"text"}
//   {"prompt": {"name", "arguments"}}        {"text"}
//   {"watch": {"name", "arguments"}}         {"progress": [what a call was told]}
//   {"steal": true}                          {"stolen": {access_token, token_type, ...}}
import { ProtocolError } from '@modelcontextprotocol/client';
import { print, read } from './lines.mjs';

console.debug = console.error; // the SDK says there what a server lacks: standard output is for answers

async function execute(client, command, { refresh, tokens }) {
    if (command.list) {
        return { tools: (await client.listTools()).tools.map((tool) => tool.name) };
    }
    if (command.call) {
        const { isError = false, content, structuredContent = null } = await client.callTool(command.call);
        const text = content.filter((part) => part.type === 'text').map((part) => part.text).join('');
        return { result: { isError, text, structured: structuredContent } };
    }
    if (command.resources) {
        return { names: (await client.listResources()).resources.map((resource) => resource.uri) };
    }
    if (command.prompts) {
        return { names: (await client.listPrompts()).prompts.map((prompt) => prompt.name) };
    }
    if (command.read) {
        return { text: (await client.readResource({ uri: command.read })).contents.map((part) => part.text ?? '').join('') };
    }
    if (command.prompt) {
        return { text: (await client.getPrompt(command.prompt)).messages.map((message) => message.content.text ?? '').join('') };
    }
    if (command.watch) {
        const progress = [];
        await client.callTool(command.watch, { onprogress: (told) => progress.push(told.progress) });
        return { progress };
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
