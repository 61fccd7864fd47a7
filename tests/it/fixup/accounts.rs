//! Accounts judged by the tools that check them: what comes out of good files is good.
