// JSON lines on standard input and output, which the tests drive these programs by.
import { createInterface } from 'node:readline';

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

export const print = (message) => process.stdout.write(JSON.stringify(message) + '\n');

// read returns undefined at the end of the input.
export async function read() {
    const { value, done } = await lines.next();
    return done ? undefined : JSON.parse(value);
}

// ask prints a question and returns the answer.
export async function ask(question) {
    print(question);
    return read();
}
