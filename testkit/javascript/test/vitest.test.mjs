import { afterAll, beforeEach, describe, it } from "vitest";
import { cases } from "./cases.mjs";

cases({ after: afterAll, beforeEach, describe, it });
