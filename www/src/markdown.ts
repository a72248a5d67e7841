// A model's Markdown as HTML that can do nothing: no element that loads, runs or asks for input.
import DOMPurify from "dompurify";
import { Marked, type Token } from "marked";

const escape = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");

const marked = new Marked({
  gfm: true,
  // Verse and lists of models that forget the blank line: a line that ends, ends.
  breaks: true,
  renderer: {
    // HTML in an answer is text about HTML.
    html: ({ text }) => escape(text),
    // An image would be a request to outside.
    image: ({ text, href }) => `<a href="${escape(href)}">${escape(text || href)}</a>`,
    // What scrolls must be reachable by keyboard.
    code: ({ text, lang }) => `<pre tabindex="0"${lang ? ` data-language="${escape(lang)}"` : ""}><code>${escape(text)}\n</code></pre>`,
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});

const purify = DOMPurify(window);
const ALLOWED = {
  ALLOWED_TAGS: ["a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"],
  ALLOWED_ATTR: ["align", "data-language", "href", "start", "tabindex"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
};
purify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName !== "A" || !node.hasAttribute("href")) return;
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer nofollow");
});

/** Blocks of a text: while it grows, only the last ones change. */
export const blocksOf = (text: string): Token[] => marked.lexer(text).filter(({ type }) => type !== "space");

export const htmlOf = (block: Token): string => purify.sanitize(marked.parser([block]), ALLOWED);
