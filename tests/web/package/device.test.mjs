// A GPU that is lost in mid-stream.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { fixture } from "./fixture.mjs";

let world;
let page;

/** In front of the worker's script: keeps the devices that are made, and destroys them when told to. */
function losable() {
  const { requestDevice } = GPUAdapter.prototype;
  const devices = [];
  GPUAdapter.prototype.requestDevice = async function (...rest) {
    devices.push(await requestDevice.apply(this, rest));
    return devices.at(-1);
  };
  addEventListener("message", ({ data }) => data.call === "lose" && devices.forEach((device) => device.destroy()));
}

before(async () => {
  world = await fixture();
  page = await world.open();
  await page.route("**/worker.js", async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: `(${losable})();${await response.text()}` });
  });
  await page.evaluate(async () => {
    const post = Worker.prototype.postMessage;
    let worker;
    Worker.prototype.postMessage = function (...rest) {
      worker = this;
      return post.apply(this, rest);
    };
    window.lose = () => post.call(worker, { call: "lose" }, [new MessageChannel().port1]);
    window.engine = await Tinderbox.load({ model: "/models/tiny.gguf", device: "webgpu" });
    /** The text of a stream whose device is lost after its fifth token, or never. */
    window.stream = async (lost) => {
      let text = "";
      let chunks = 0;
      for await (const { choices } of await engine.completions.create({ prompt: "hello", max_tokens: 20, temperature: 0, stream: true })) {
        text += choices[0]?.text ?? "";
        if (lost && ++chunks === 5) lose();
      }
      return text;
    };
  });
});

after(() => world.close());

test("a stream goes on where its device was lost, twice", async () => {
  const { texts, recoveries } = await page.evaluate(async () => ({
    texts: [await stream(false), await stream(true), await stream(true)],
    recoveries: (await engine.report()).recoveries,
  }));
  assert.equal(texts[1], texts[0]);
  assert.equal(texts[2], texts[0]);
  assert.equal(recoveries, 2);
});

test("the third loss is an error, and stays one", async () => {
  const errors = await page.evaluate(async () => [await caught(stream(true)), await caught(stream(false)), await caught(engine.report())]);
  assert.deepEqual(errors.map(({ code, ours }) => [code, ours]), Array(3).fill(["device_lost", true]), errors[0].message);
});
