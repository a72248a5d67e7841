import type { Token } from "marked";
import { memo } from "preact/compat";
import { blocksOf, htmlOf } from "../markdown.ts";

export const Markdown = ({ text }: { text: string }) => (
  <div class="prose">{blocksOf(text).map((block, index) => <Block key={index} block={block} />)}</div>
);

/** A block that did not change keeps its elements, and with them a selection in it. */
const Block = memo(
  ({ block }: { block: Token }) => <div dangerouslySetInnerHTML={{ __html: htmlOf(block) }} />,
  (before, after) => before.block.raw === after.block.raw,
);
