/** The browsers that publish in turn: both, or those that REKINDLE_PUBLISHERS names (short forms of the tests). */
export const PUBLISHERS = (process.env.REKINDLE_PUBLISHERS || "chromium,firefox").split(",");
