/** The browsers that publish in turn: both, or those that REKINDLE_PUBLISHERS names (short forms of the tests). */
export const PUBLISHERS = (process.env.REKINDLE_PUBLISHERS || "chromium,firefox").split(",");

/** The same of tests in which one browser does everything: both, or those that REKINDLE_BROWSERS names. */
export const BROWSERS = (process.env.REKINDLE_BROWSERS || "chromium,firefox").split(",");
