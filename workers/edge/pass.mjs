// Passes streams on. Here and not in the module, because each piece would go in and out of its memory.

/**
 * Gives a stream of the same bytes; a promise of how it ended: `true` where it is whole, `false` where the source broke
 * off, which `words` end then; nothing where its reader left, which ends the source; and a promise of its first piece.
 */
export function passOn(source, words) {
    const {readable, writable} = new IdentityTransformStream();
    let begun;
    const first = new Promise((resolve) => {
        begun = resolve;
    });
    return [readable, pump(source.getReader(), writable.getWriter(), words, begun), first];
}

async function pump(reader, writer, words, begun) {
    for (;;) {
        const {done, value, broken} = await reader.read().catch(() => ({broken: true}));
        // The first call counts.
        begun(value !== undefined);
        try {
            if (done) {
                await writer.close();
                return true;
            }
            await writer.write(broken ? words : value);
            if (broken) {
                await writer.close();
                return false;
            }
        } catch (error) {
            reader.cancel(error).catch(() => {});
            return undefined;
        }
    }
}
