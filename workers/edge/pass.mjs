// Passes streams on. Here and not in the module, because each piece would go in and out of its memory.

/**
 * Gives a stream of the same bytes, and a promise of whether the source broke off: then `words` are its end. Whoever reads
 * no longer ends the source.
 */
export function passOn(source, words) {
    const {readable, writable} = new IdentityTransformStream();
    return [readable, pump(source.getReader(), writable.getWriter(), words)];
}

async function pump(reader, writer, words) {
    for (;;) {
        const {done, value, broken} = await reader.read().catch(() => ({broken: true}));
        try {
            if (done) {
                await writer.close();
                return false;
            }
            await writer.write(broken ? words : value);
            if (broken) {
                await writer.close();
                return true;
            }
        } catch (error) {
            reader.cancel(error).catch(() => {});
            return false;
        }
    }
}
