import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nextPresence, unknownPresence, type PresenceState } from '../../src/reconcile/presence.ts';

/** Whether the director counts as present after each look: `+` found, `-` not. */
function after(looks: string, patience: number): string {
  let state: PresenceState = unknownPresence;
  let text = '';
  for (const look of looks) {
    state = nextPresence(state, look === '+', patience);
    text += state.present === true ? 'p' : 'a';
  }
  return text;
}

test('the first look decides at once, whatever the patience', () => {
  for (const patience of [1, 4, 120]) {
    assert.equal(after('-', patience), 'a');
    assert.equal(after('+', patience), 'p');
  }
});

test('gone with the N-th look in a row that finds nobody', () => {
  assert.equal(after('+-', 1), 'pa');
  assert.equal(after('+----', 4), 'pppp' + 'a');
  assert.equal(after(`+${'-'.repeat(120)}`, 120), `${'p'.repeat(120)}a`);
});

test('one that finds somebody begins the count anew', () => {
  assert.equal(after('+---+---+----', 4), 'ppppppppp' + 'pppa');
});

test('back with the first look, and no patience before', () => {
  assert.equal(after('-+', 4), 'ap');
  assert.equal(after('+-----+', 4), 'ppppaap');
});
