/** First import of the program, because the heap grows with the very first modules. */
import { setFlagsFromString } from 'node:v8';

// A reconciler is idle nearly always. Left alone, V8 answers the burst of the first pass with a young generation of
// 16 MiB halves that it never gives back: a fifth of the resident memory, for garbage that small halves hold as well.
setFlagsFromString('--semi-space-growth-factor=1');
