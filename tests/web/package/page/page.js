// The package and a few helpers, for what tests evaluate in this page.
import * as tinderbox from "/dist/tinderbox.js";

/** What an error says, in a shape that leaves the page. */
async function caught(promise) {
  const error = await Promise.resolve(promise).then((value) => {
    throw new Error(`no error, but ${JSON.stringify(value)}`);
  }, (error) => error);
  const { name, code, param, message } = error;
  return { name, code, param, message, ours: error instanceof tinderbox.TinderboxError };
}

async function all(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

/** What an OPFS model was made of, to be dropped on the page as a user would. */
async function file(path) {
  const response = await fetch(path);
  return new File([await response.blob()], path.split("/").at(-1));
}

Object.assign(window, tinderbox, { caught, all, file });
