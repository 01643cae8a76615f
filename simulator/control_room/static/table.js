// A table of any length: only the rows in sight are in the document, and say which of how many they are.

import { html, render } from "./ui.js";
import { t } from "./words.js";
import { view } from "./view.js";

const ROW_REM = 1.75;
const BEYOND = 8; // rows drawn above and below what is in sight

/**
 * @typedef {object} Column
 * @property {string} key  of the order in the address bar
 * @property {string} title
 * @property {string} [long]
 * @property {string} [className]
 * @property {(row: any) => any} cell
 * @property {(row: any) => string|number} value  to sort by
 */

export class Table {
  /**
   * @param {HTMLElement} place scrolls
   * @param {{columns: () => Column[], label: string, prefix: string, open: (row: any) => void, choose?: (row: any) => void,
   *   classOf?: (row: any) => string, keyOf: (row: any) => string, empty: () => string, first: string}} facts
   */
  constructor(place, facts) {
    Object.assign(this, facts);
    this.place = place;
    /** @type {any[]} */
    this.rows = [];
    this.active = -1;
    place.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(place);
  }

  get rowPx() { return ROW_REM * Number.parseFloat(getComputedStyle(document.documentElement).fontSize); }

  /** The order asked for: column and whether it rises. */
  order() {
    return { key: view.get(`${this.prefix}sort`) || this.first, rises: view.get(`${this.prefix}order`) === "up" };
  }

  /** Rows in order; equal ones keep theirs by key. @param {any[]} rows */
  sorted(rows) {
    const { key, rises } = this.order();
    const column = this.columns().find((one) => one.key === key) ?? this.columns()[0];
    const sign = rises ? 1 : -1;
    const keyed = rows.map((row) => [column.value(row), this.keyOf(row), row]);
    keyed.sort((a, b) => (a[0] < b[0] ? -sign : a[0] > b[0] ? sign : a[1] < b[1] ? -1 : 1));
    return keyed.map((one) => one[2]);
  }

  /** @param {any[]} rows in order @param {string} [activeKey] key of the chosen one */
  show(rows, activeKey) {
    this.rows = rows;
    this.active = activeKey === undefined ? -1 : rows.findIndex((row) => this.keyOf(row) === activeKey);
    this.draw();
  }

  /** Another row is the chosen one. @param {string|null} key */
  mark(key) {
    if (this.rows[this.active] && this.keyOf(this.rows[this.active]) === key) return;
    this.active = key === null ? -1 : this.rows.findIndex((row) => this.keyOf(row) === key);
    this.draw();
  }

  /** Choose the next row but `by`, and bring it into sight. @param {number} by */
  step(by) {
    if (!this.rows.length) return;
    this.active = Math.min(Math.max(this.active + by, 0), this.rows.length - 1);
    const [top, height] = [this.active * this.rowPx, this.place.clientHeight - 2 * this.rowPx];
    if (top < this.place.scrollTop) this.place.scrollTop = top;
    if (top > this.place.scrollTop + height) this.place.scrollTop = top - height;
    this.choose?.(this.rows[this.active]);
    this.draw();
  }

  draw() {
    const first = Math.max(0, Math.floor(this.place.scrollTop / this.rowPx) - BEYOND);
    const last = Math.min(this.rows.length, first + Math.ceil(this.place.clientHeight / this.rowPx) + 2 * BEYOND);
    const columns = this.columns();
    const space = (count) => count > 0 && html`<tr aria-hidden="true"><td colspan=${columns.length} style=${{ height: `${count * this.rowPx}px` }}></td></tr>`;
    render(html`<table aria-label=${this.label} aria-rowcount=${this.rows.length + 1}>
      <thead><tr aria-rowindex="1">${columns.map((column) => this.#heading(column))}</tr></thead>
      <tbody>${space(first)}${this.rows.slice(first, last).map((row, index) => this.#line(columns, row, first + index))}
        ${space(this.rows.length - last)}
        ${!this.rows.length && html`<tr><td class="empty" colspan=${columns.length}>${this.empty()}</td></tr>`}</tbody></table>`, this.place);
  }

  #heading(column) {
    const { key, rises } = this.order();
    const sorted = column.key === key ? (rises ? "ascending" : "descending") : undefined;
    const turn = () => view.set({ [`${this.prefix}sort`]: column.key, [`${this.prefix}order`]: sorted === "descending" ? "up" : "" });
    return html`<th scope="col" class=${column.className} aria-sort=${sorted}>
      <button type="button" title=${column.long} onClick=${turn}>${column.title}</button></th>`;
  }

  #line(columns, row, index) {
    const isActive = index === this.active;
    const choose = () => { this.active = index; this.choose?.(row); this.draw(); };
    return html`<tr key=${this.keyOf(row)} aria-rowindex=${index + 2} class="${this.classOf?.(row) ?? ""} ${isActive ? "active" : ""}"
        aria-selected=${this.choose ? String(isActive) : undefined} onClick=${choose} onDblClick=${() => this.open(row)}>
      ${columns.map((column) => html`<td class=${column.className}>${column.cell(row)}</td>`)}</tr>`;
  }
}

/** Rows as CSV. @param {Column[]} columns @param {any[]} rows */
export function csv(columns, rows) {
  const safe = (value) => {
    const text = String(value ?? "");
    const plain = /^[=+\-@\t\r]/.test(text) && !/^-?\d+(\.\d+)?$/.test(text) ? `'${text}` : text; // no formula for a spreadsheet
    return /[",\n\r]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
  };
  const lines = rows.map((row) => columns.map((column) => safe(column.value(row))).join(","));
  return `${[columns.map((column) => safe(column.key)).join(","), ...lines].join("\r\n")}\r\n`;
}

/** A button of a cell that opens its row. */
export const opener = (text, open) => html`<button type="button" class="link" onClick=${open}>${text}</button>`;
export const unfit = () => t("vehicles.unfit");
