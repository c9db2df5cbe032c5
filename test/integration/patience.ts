/** @module Node's `fetch` gives up after five silent minutes, which a whole answer may take on a busy machine. */
import { Agent, setGlobalDispatcher } from "undici";

setGlobalDispatcher(new Agent({ headersTimeout: 0, bodyTimeout: 0 }));
