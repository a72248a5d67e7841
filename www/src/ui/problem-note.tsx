import { adviceFor } from "../problem.ts";
import type { Problem } from "../state.ts";

/** What went wrong, where it did, and what to do. */
export const ProblemNote = ({ title, problem }: { title: string; problem: Problem }) => (
  <div class="problem" role="alert">
    <p><strong>{title}</strong> <code>{problem.code}</code></p>
    <p class="problem-message">{problem.message}</p>
    <p>{adviceFor(problem)}</p>
  </div>
);
