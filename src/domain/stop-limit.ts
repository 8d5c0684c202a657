/** How long a process that was asked to stop lets what is under way end, in milliseconds, before it is broken off. */
export const stopLimitMs = 15_000;
