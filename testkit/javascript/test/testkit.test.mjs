import { after, beforeEach, describe, it } from "node:test";
import { cases } from "./cases.mjs";

cases({ after, beforeEach, describe, it });
