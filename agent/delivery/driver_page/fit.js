// The word as large as the screen is wide; letters differ too much between alphabets to be counted.

const pen = document.createElement('canvas').getContext('2d');

/** Puts a text into an element and tells the style sheet how wide its longest part is, in em. */
export function fit(node, text) {
  const style = getComputedStyle(node);
  pen.font = `${style.fontWeight} 100px ${style.fontFamily}`;
  const widest = Math.max(...text.split(' ').map((part) => pen.measureText(part).width)) / 100;
  node.style.setProperty('--wide', String(Math.max(1.5, widest)));
  if (node.textContent !== text) node.textContent = text;
}
