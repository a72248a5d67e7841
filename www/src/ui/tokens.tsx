import { useSignal } from "@preact/signals";
import { Fragment } from "preact";
import { useId } from "preact/hooks";
import { percent, visible } from "../format.ts";
import type { Token } from "../state.ts";

/** Steps of certainty, each with a shade: the less likely, the warmer. */
const STEPS = [0.9, 0.6, 0.3, 0.1];
const stepOf = (probability: number) => STEPS.filter((step) => probability < step).length;

/** The answer token by token; one of them is looked at, by pointer or by keyboard. */
export function Tokens({ tokens }: { tokens: Token[] }) {
  const looked = useSignal(0);
  const id = useId();
  const at = Math.min(looked.value, tokens.length - 1);

  function move(event: KeyboardEvent) {
    const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: tokens.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = Math.max(0, Math.min(tokens.length - 1, to));
    looked.value = next;
    (event.currentTarget as HTMLElement).querySelectorAll("button")[next]?.focus();
  }

  return (
    <div class="token-view">
      <div class="tokens" role="toolbar" aria-label="Tokens of the answer, arrow keys move" onKeyDown={move}>
        {tokens.map((token, index) => (
          <Fragment key={index}>
            <button type="button" class={`token p${stepOf(token.probability)}`} tabIndex={index === at ? 0 : -1} aria-describedby={index === at ? id : undefined}
              aria-label={`${visible(token.text)}, ${percent(token.probability)}`} onFocus={() => (looked.value = index)} onPointerEnter={() => (looked.value = index)}
              onClick={() => (looked.value = index)} aria-current={index === at ? "true" : undefined}>{token.text.replaceAll("\n", "⏎") || "∅"}</button>
            {token.text.includes("\n") && <br />}
          </Fragment>
        ))}
      </div>
      <TokenFacts id={id} token={tokens[at]!} />
    </div>
  );
}

function TokenFacts({ id, token }: { id: string; token: Token }) {
  return (
    <div class="token-facts" id={id}>
      <p><code>{visible(token.text)}</code> had a probability of <b>{percent(token.probability)}</b></p>
      <ol aria-label="The likeliest tokens here">
        {token.alternatives.map(({ text, probability }, index) => (
          <li key={index} class={text === token.text ? "taken" : ""}>
            <code>{visible(text)}</code>
            <meter min={0} max={1} value={probability} aria-hidden="true" />
            <span class="numbers">{percent(probability)}</span>
          </li>
        ))}
      </ol>
    </div>
  );
}
