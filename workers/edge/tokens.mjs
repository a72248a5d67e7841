// Counts the tokens that the requests of one key ask for in a day. One object a key, so that no two isolates count apart.

import {DurableObject} from "cloudflare:workers";

const DAY = 86_400_000;

export class Tokens extends DurableObject {
    /** `?tokens=N&most=M`: takes N of the M of today (UTC); answers `{}`, or `{wait}` in seconds where they are not there. */
    async fetch(request) {
        const query = new URL(request.url).searchParams;
        const [tokens, most] = [Number(query.get("tokens")), Number(query.get("most"))];
        const now = Date.now();
        const day = Math.floor(now / DAY);
        const stored = await this.ctx.storage.get("taken");
        const taken = (stored?.day === day ? stored.tokens : 0) + tokens;
        if (taken > most) {
            return Response.json({wait: Math.ceil(((day + 1) * DAY - now) / 1000)});
        }
        await this.ctx.storage.put("taken", {day, tokens: taken});
        return Response.json({});
    }
}
