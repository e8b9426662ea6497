// What the scripts of the pages share.
const el = (id) => document.getElementById(id);

function store(key, value) { try { localStorage.setItem(key, value); } catch { /* private window: not kept */ } }
function stored(key) { try { return localStorage.getItem(key); } catch { return null; } }
function setTheme(name) { document.documentElement.dataset.theme = name; }
const darkSystem = matchMedia("(prefers-color-scheme: dark)");
const systemTheme = () => (darkSystem.matches ? "dark" : "light");
setTheme(stored("theme") ?? systemTheme());
darkSystem.addEventListener("change", () => { if (!stored("theme")) setTheme(systemTheme()); });
el("theme").addEventListener("click", () => {
  const name = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  setTheme(name);
  store("theme", name);
});
