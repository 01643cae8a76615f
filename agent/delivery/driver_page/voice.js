// Sound, vibration and voice for each word.

/** Tones in Hz, and how the phone shakes, in ms: GO rises, STOP and HOLD are long and low. */
const TONES = {
  GO: [660, 880], GO_WITH_OBLIGATION: [660, 880, 660], STOP: [330, 330, 330], HOLD: [440, 330], NO_DATA: [440, 330],
};
const SHAKES = {
  GO: [120, 80, 120], GO_WITH_OBLIGATION: [120, 80, 120, 80, 300], STOP: [600, 150, 600, 150, 600],
  HOLD: [600, 150, 600], NO_DATA: [600, 150, 600],
};
const TONE_S = 0.22;
let audio = null;

/** Whether the browser lets this page be heard. */
export const canSound = () => audio !== null && audio.state === 'running';

/** To be called from a tap: browsers allow sound only then. */
export async function allowSound() {
  audio = audio || new AudioContext();
  await audio.resume();
}

export function signal(word) {
  if (SHAKES[word] && navigator.vibrate && navigator.userActivation?.hasBeenActive) navigator.vibrate(SHAKES[word]);
  if (canSound()) (TONES[word] || []).forEach((hertz, place) => tone(hertz, audio.currentTime + place * TONE_S * 1.2));
}

function tone(hertz, atS) {
  const source = new OscillatorNode(audio, {frequency: hertz, type: 'square'});
  const volume = new GainNode(audio, {gain: 0.25});
  source.connect(volume).connect(audio.destination);
  source.start(atS);
  source.stop(atS + TONE_S);
}

export function speak(text, language) {
  if (!('speechSynthesis' in window)) return;
  speechSynthesis.cancel();
  const saying = new SpeechSynthesisUtterance(text);
  saying.lang = language;
  speechSynthesis.speak(saying);
}
