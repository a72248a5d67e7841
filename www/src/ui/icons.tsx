// Drawn here, so that nothing is fetched. All are decoration: the words are on their buttons.
import type { ComponentChildren } from "preact";

const Icon = ({ children }: { children: ComponentChildren }) => (
  <svg class="glyph" viewBox="0 0 20 20" width="20" height="20" fill="none" stroke="currentColor" stroke-width="1.6"
    stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false">{children}</svg>
);

export const FlameIcon = () => (
  <svg class="flame" viewBox="0 0 20 22" width="20" height="22" aria-hidden="true" focusable="false">
    <path d="M11.300.800c.5 4 6.200 6.400 6.200 12.400a7.500 7.500 0 0 1-15 .3c0-2.800 1.400-4.700 3-6.100.2 1.900.9 3 2.100 3.400-.4-4 .9-7.400 3.700-10Z" />
    <path class="flame-core" d="M10.200 11.300c.3 2.100 2.700 3 2.700 5.500a3.100 3.100 0 0 1-6.200 0c0-2.400 2.500-3.200 3.500-5.500Z" />
  </svg>
);
export const PlusIcon = () => <Icon><path d="M10 4v12M4 10h12" /></Icon>;
export const ContrastIcon = () => <Icon><circle cx="10" cy="10" r="6.500" /><path d="M10 3.500a6.500 6.500 0 0 1 0 13Z" fill="currentColor" /></Icon>;
export const PanelIcon = () => <Icon><rect x="3" y="4" width="14" height="12" rx="2" /><path d="M12.500 4v12" /></Icon>;
export const SendIcon = () => <Icon><path d="M10 16V4.500M5 9.500l5-5 5 5" /></Icon>;
export const StopIcon = () => <Icon><rect x="5.500" y="5.500" width="9" height="9" rx="1.500" fill="currentColor" /></Icon>;
