// Builds the component: node build.mjs OUTPUT
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { componentize } from '@bytecodealliance/componentize-js';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const [output] = process.argv.slice(2);
if (output === undefined) {
  throw new Error('usage: node build.mjs OUTPUT');
}

const { component } = await componentize({
  sourcePath: here('greet.js'),
  witPath: here('wit'),
  worldName: 'greet-js',
  // What the engine is built without, the component does not import: this tool asks the host for nothing.
  disableFeatures: ['stdio', 'random', 'clocks', 'http', 'fetch-event'],
});
await writeFile(output, component);
