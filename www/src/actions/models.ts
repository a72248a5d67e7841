// Loading, unloading and forgetting models.
import { Tinderbox, type Engine, type ModelSource } from "tinderbox-web";
import { problemOf } from "../problem.ts";
import { announcement, chatProblem, engine, isWide, loading, loadMs, loadProblem, panelsOpen, plain, report, settings, stored } from "../state.ts";
import { stop } from "./answers.ts";
import { bench } from "./bench.ts";
import { refreshReport } from "./report.ts";

/** `apiKey` is for the edge, and is never kept. */
export async function load(model: ModelSource, name: string, apiKey: string): Promise<void> {
  await unload();
  const controller = new AbortController();
  loadProblem.value = null;
  loading.value = { name, progress: null, cancel: () => controller.abort() };
  announcement.value = `Loading ${name}`;
  const { device, contextLength, place, endpoint } = settings.value;
  const start = performance.now();
  try {
    const loaded = await Tinderbox.load({
      model, device, place,
      contextLength: contextLength || undefined,
      endpoint: endpoint || undefined,
      apiKey: apiKey || undefined,
      signal: controller.signal,
      onProgress(progress) {
        if (loading.value) loading.value = { ...loading.value, progress };
      },
    });
    loadMs.value = performance.now() - start;
    plain.value = await hasNoTemplate(loaded);
    engine.value = loaded;
    if (isWide()) panelsOpen.value = true;
    announcement.value = `${loaded.model} is ready`;
    await refreshReport();
  } catch (thrown) {
    const problem = problemOf(thrown);
    if (problem.code === "aborted") announcement.value = "Loading cancelled. What was downloaded is kept.";
    else loadProblem.value = problem;
  } finally {
    loading.value = null;
    await refreshStored();
  }
}

const hasNoTemplate = (loaded: Engine) => loaded.tokenize([{ role: "user", content: "?" }])
  .then(() => false, (thrown: unknown) => problemOf(thrown).code === "invalid_request");

export const loadFiles = (files: readonly File[]) => load(files, files.map(({ name }) => name).join(", "), "");

export async function unload(): Promise<void> {
  stop();
  bench.value = null;
  chatProblem.value = null;
  report.value = null;
  const old = engine.value;
  engine.value = null;
  await old?.dispose();
}

export async function refreshStored(): Promise<void> {
  stored.value = await Tinderbox.stored().catch(() => []);
}

export async function forget(name: string): Promise<void> {
  try {
    await Tinderbox.remove(name);
    announcement.value = `${name} deleted`;
  } catch (thrown) {
    loadProblem.value = problemOf(thrown);
  }
  await refreshStored();
}
