// The skills extension of 2026-07-28 (`io.modelcontextprotocol/skills`), with two small skills on two pages.

import { SkillsExtension, memorySkillFiles } from "@modelcontextprotocol/server/ext/skills";

const FILES = {
  "count-words/SKILL.md": `---
name: count-words
description: Counts the words of a text
---

Split the text at its blanks, and count.
`,
  "count-words/references/BLANKS.md": "What counts as a blank.\n",
  "draw-lines/SKILL.md": `---
name: draw-lines
description: Draws lines
metadata:
  author: example.test
---

From one point to the other.
`,
};

/** To be attached to each server. */
export const skills = await SkillsExtension.load(memorySkillFiles(FILES), {
  pageSize: 1,
  strict: true,
  cacheHint: { ttlMs: 1000, cacheScope: "private" },
});
