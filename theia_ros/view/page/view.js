'use strict';

/* The page of `theia-ros view`. The server sends the state and pictures over one WebSocket. Each is
   answered with {got: pane} when it is shown, and only then does the next one of that pane come,
   so a slow browser sees fewer pictures and not old ones. Everything that comes from a robot is put
   into the page as text, never as HTML. */

const LATE_MS = 3000;
const RETRY_MS = [250, 500, 1000, 2000];
const NEAR = '150px';  // panes that are so close to the window are shown as well

const byId = (id) => document.getElementById(id);
const make = (template) => byId(template).content.firstElementChild.cloneNode(true);
const utf8 = new TextDecoder();

// What the user chose stays chosen on this computer; without storage, until the page is closed.
const kept = {
  get(key) { try { return localStorage.getItem(`theia ${key}`); } catch { return null; } },
  set(key, value) { try { localStorage.setItem(`theia ${key}`, value); } catch { /* private */ } },
};

const hiddenTitles = new Set(JSON.parse(kept.get('hidden') ?? '[]'));
const nodes = new Map();    // name -> {element, cameras: Map(name -> {element, panes: Map})}
const panes = new Set();    // every pane on the page
let socket = null;
let failures = 0;
let asked = '';             // what the server was asked for last

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setLevel(element, level, text) {
  setText(element, text);
  const name = `level ${level}`;
  if (element.className !== name) element.className = name;
}

function setRows(body, rows) {
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((cells, i) => {
    const row = body.rows[i] ?? body.insertRow();
    cells.forEach((cell, j) => setText(row.cells[j] ?? row.insertCell(), cell));
  });
}

function setFacts(list, facts) {
  const terms = list.children;
  while (terms.length > facts.length) list.lastElementChild.remove();
  facts.forEach(([term, text], i) => {
    if (!terms[i]) {
      const pair = list.appendChild(document.createElement('div'));
      pair.append(document.createElement('dt'), document.createElement('dd'));
    }
    setText(terms[i].firstElementChild, term);
    setText(terms[i].lastElementChild, text);
  });
}

// Keep one element for each key, in order; those that are there already stay, with their state.
function sync(map, keys, parent, create) {
  for (const [key, item] of map) {
    if (!keys.includes(key)) {
      item.remove?.();
      item.element.remove();
      map.delete(key);
    }
  }
  keys.forEach((key, i) => {
    if (!map.has(key)) map.set(key, create(key));
    const {element} = map.get(key);
    if (parent.children[i] !== element) parent.insertBefore(element, parent.children[i] ?? null);
  });
}

// --- panes ------------------------------------------------------------------------------------

const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) entry.target.pane.near = entry.isIntersecting;
  ask();
}, {rootMargin: NEAR});

class Pane {
  constructor(camera, topic, title) {
    this.topic = topic;
    this.title = title;
    this.camera = camera;
    this.near = false;
    this.since = 0;         // when it began to be shown, or its last picture came
    this.seen = false;
    this.element = make('pane');
    this.element.pane = this;
    this.canvas = this.element.querySelector('canvas');
    this.context = this.canvas.getContext('bitmaprenderer');
    this.over = this.element.querySelector('.over');
    this.figures = this.element.querySelector('.figures');
    this.canvas.setAttribute('aria-label', `${title} of camera ${camera.name}`);
    setText(this.element.querySelector('b'), title);
    this.element.title = topic;
    const large = this.element.querySelector('.large');
    large.setAttribute('aria-label', `Enlarge ${title} of camera ${camera.name}`);
    large.addEventListener('click', () => {
      const on = this.element.classList.toggle('enlarged');
      large.setAttribute('aria-pressed', on);
      setText(large, on ? 'Reduce' : 'Enlarge');
    });
    watcher.observe(this.element);
    panes.add(this);
  }

  get shown() {
    return this.near && this.camera.element.open && !hiddenTitles.has(this.title);
  }

  show(head, bitmap) {
    this.since = performance.now();
    const parts = [];
    if (head.hz) parts.push(`${head.hz.toFixed(head.hz < 10 ? 1 : 0)} Hz`);
    if (head.age_ms !== null) parts.push(`${Math.round(head.age_ms)} ms old`);
    if (head.note) parts.push(head.note);
    setText(this.figures, parts.join(' · '));
    setText(this.over, head.error ?? '');
    if (bitmap) {
      this.seen = true;
      const {width, height} = bitmap;
      if (this.canvas.width !== width || this.canvas.height !== height) {
        Object.assign(this.canvas, {width, height});
        this.canvas.parentElement.style.aspectRatio = `${width} / ${height}`;
      }
      this.context.transferFromImageBitmap(bitmap);
    }
  }

  growOld(now) {
    if (!this.shown) {
      this.since = 0;
    } else if (!this.since) {
      this.since = now;
    } else if (now - this.since > LATE_MS) {
      const seconds = Math.floor((now - this.since) / 1000);
      setText(this.over, `${this.seen ? 'no new picture' : 'no picture'} for ${seconds} s`);
    }
  }

  remove() {
    watcher.unobserve(this.element);
    panes.delete(this);
  }
}

// Ask for what is on the screen: a hidden page, a closed camera or a pane out of sight costs the
// robot nothing.
let asking = 0;
function ask() {
  clearTimeout(asking);
  asking = setTimeout(() => {
    const shown = document.hidden ? [] : [...panes].filter((p) => p.shown).map((p) => p.topic);
    const text = JSON.stringify({show: [...new Set(shown)].sort()});
    if (text !== asked && socket?.readyState === WebSocket.OPEN) {
      asked = text;
      socket.send(text);
    }
  }, 80);
}

function showTitles() {
  const titles = [...new Set([...panes].map((pane) => pane.title))];
  const bar = byId('titles');
  if (JSON.stringify(titles) !== bar.dataset.titles) {
    bar.dataset.titles = JSON.stringify(titles);
    bar.replaceChildren(...titles.map((title) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = title;
      button.addEventListener('click', () => {
        if (!hiddenTitles.delete(title)) hiddenTitles.add(title);
        kept.set('hidden', JSON.stringify([...hiddenTitles]));
        showTitles();
      });
      return button;
    }));
  }
  for (const button of bar.children) {
    button.setAttribute('aria-pressed', !hiddenTitles.has(button.textContent));
  }
  for (const pane of panes) pane.element.hidden = hiddenTitles.has(pane.title);
  const most = titles.filter((title) => !hiddenTitles.has(title)).length;
  byId('nodes').style.setProperty('--columns', Math.max(most, 1));
  ask();
}

// --- the state --------------------------------------------------------------------------------

function tell(state) {
  const found = state.nodes.length > 0;
  byId('waiting').hidden = found;
  setText(byId('domain'), String(state.domain));
  byId('starting').replaceChildren(...state.starting.map((text) => {
    const item = document.createElement('li');
    item.textContent = text;
    return item;
  }));
  sync(nodes, state.nodes.map((node) => node.name), byId('nodes'), (name) => {
    const element = make('node');
    setText(element.querySelector('h2'), name);
    return {element, cameras: new Map(), remove() { this.cameras.forEach((c) => c.remove()); }};
  });
  for (const node of state.nodes) tellNode(nodes.get(node.name), node);
  showTitles();
}

function tellNode({element, cameras}, node) {
  const at = (selector) => element.querySelector(selector);
  const away = node.away_s !== null;
  element.classList.toggle('away', away);
  const [level, message] = node.status ?? ['warn', 'has told nothing yet'];
  if (away) {
    setLevel(at('.head .level'), 'warn', 'AWAY');
    setText(at('.head .message'), `has told nothing for ${node.away_s} s; waiting for it`);
  } else {
    setLevel(at('.head .level'), level, level.toUpperCase());
    setText(at('.head .message'), node.info ? message : 'configured, but not active yet');
  }
  const info = node.info;
  at('.facts').hidden = at('.more').hidden = !info;
  if (info) tellInfo(at, node, info);
  sync(cameras, node.cameras.map((camera) => camera.name), at('.cameras'), (name) => {
    const camera = {name, element: make('camera'), panes: new Map()};
    camera.remove = () => camera.panes.forEach((pane) => pane.remove());
    camera.element.addEventListener('toggle', ask);
    setText(camera.element.querySelector('h3'), name);
    return camera;
  });
  for (const camera of node.cameras) tellCamera(cameras.get(camera.name), camera, away);
}

function tellInfo(at, node, info) {
  const cosines = info.tensors.map((tensor) => tensor[2]).filter((c) => c !== null);
  const worst = cosines.length ? Math.min(...cosines).toFixed(6) : 'not measured';
  setFacts(at('.facts'), [
    ['Model', info.model.split('/').pop()],
    ['Backend', info.backend],
    ['Precision', info.precision],
    ['Device', info.device],
    ['Parity, smallest cosine', worst],
    ['Preprocessing', info.preprocessing],
    ['Memory', node.memory_mb ? `${node.memory_mb} MB` : '?'],
  ]);
  setRows(at('.steps tbody'), node.steps.map(([step, ...ms]) => [words(step), ...ms.map(figure)]));
  setRows(at('.tensors tbody'), info.tensors.map(([name, shape, cosine, error]) => [
    name, shape.join(' × '), cosine === null ? '–' : cosine.toFixed(7),
    error === null ? '–' : error.toExponential(1),
  ]));
  setFacts(at('.provenance'), [
    ['Model', info.model], ['Digest of what decides the numbers', info.digest],
    ['SHA-256 of the weights', info.weights], ['Reduction', info.reduction],
    ['Versions', info.versions.join(', ')],
  ]);
}

function tellCamera(camera, state, away) {
  const at = (selector) => camera.element.querySelector(selector);
  const [level, message] = state.status ?? ['warn', 'nothing told yet'];
  setLevel(at('.level'), level, away ? '' : level.toUpperCase());
  setText(at('.message'), away ? '' : message);
  const total = state.steps.find(([step]) => step === 'stamp_to_publish');
  const inside = state.steps.find(([step]) => step === 'receive_to_publish');
  setText(at('.latency'), [
    inside && `features ${figure(inside[1])} ms after the image came`,
    total && Math.abs(total[1]) < 3.6e6 && `${figure(total[1])} ms after it was taken`,
  ].filter(Boolean).join(', '));
  // Zeros say nothing, but for the first two.
  const counters = state.counters.filter(([name, n], i) => n > 0 || i < 2);
  setText(at('.counters'), counters.map(([name, n]) => `${n} ${words(name)}`).join(' · '));
  sync(camera.panes, state.panes.map((pane) => `${pane.topic} ${pane.title}`), at('.panes'),
    (key) => {
      const {topic, title} = state.panes.find((pane) => `${pane.topic} ${pane.title}` === key);
      return new Pane(camera, topic, title);
    });
}

const words = (name) => name.replaceAll('_', ' ');
const figure = (ms) => ms.toFixed(ms < 10 ? 1 : 0);

// --- the connection ---------------------------------------------------------------------------

async function take(data) {
  const length = new DataView(data).getUint32(0);
  const head = JSON.parse(utf8.decode(new Uint8Array(data, 4, length)));
  if (head.pane === 'state') {
    tell(head);
    return head.pane;
  }
  const shown = [...panes].filter((pane) => pane.topic === head.pane && pane.shown);
  const picture = new Blob([new Uint8Array(data, 4 + length)], {type: head.type});
  for (const pane of shown) {
    try {
      pane.show(head, head.error ? null : await createImageBitmap(picture));
    } catch (error) {
      pane.show({...head, error: `this browser cannot show it: ${error}`}, null);
    }
  }
  return head.pane;
}

function connect() {
  const mine = socket = new WebSocket(`ws://${location.host}/live`);
  mine.binaryType = 'arraybuffer';
  mine.addEventListener('open', () => {
    failures = 0;
    asked = '';
    setLevel(byId('connection'), 'ok', 'live');
    ask();
  });
  mine.addEventListener('message', async ({data}) => {
    const pane = await take(data);
    if (mine.readyState === WebSocket.OPEN) mine.send(JSON.stringify({got: pane}));
  });
  mine.addEventListener('close', () => {
    setLevel(byId('connection'), 'error', 'the view has ended; trying again');
    setTimeout(connect, RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]);
  });
}

// --- the rest ---------------------------------------------------------------------------------

function showTheme(theme) {
  if (theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  setText(byId('theme'), `Theme: ${theme}`);
}

const themes = ['auto', 'light', 'dark'];
let theme = themes.includes(kept.get('theme')) ? kept.get('theme') : 'auto';
showTheme(theme);
byId('theme').addEventListener('click', () => {
  theme = themes[(themes.indexOf(theme) + 1) % themes.length];
  kept.set('theme', theme);
  showTheme(theme);
});
document.addEventListener('visibilitychange', ask);
setInterval(() => panes.forEach((pane) => pane.growOld(performance.now())), 500);
connect();
