/** Colours, type, cards and the head of the page. */
export const style = `
:root{color-scheme:light dark;
--bg:#f5f6f8;--surface:#fff;--raised:#fff;--sunken:#f0f2f5;--ink:#171a20;--soft:#414957;--muted:#667085;--line:#e2e5eb;--accent:#3559d6;
--video:#5a5ad8;--audio:#0b8f82;--text:#b26a08;--class:#c2255c;--separator:#9aa3b2;--note-bg:#fff7e6;--note-line:#f0d9a8;--note-ink:#6b4a08;
--cursor:#d9304f;--shadow:0 1px 2px rgba(16,24,40,.05),0 4px 16px rgba(16,24,40,.04);--gutter:140px;
font:15px/1.5 ui-sans-serif,system-ui,-apple-system,"Segoe UI",Roboto,Inter,"Helvetica Neue",sans-serif}
@media (prefers-color-scheme:dark){:root{
--bg:#0d1014;--surface:#15191f;--raised:#303844;--sunken:#1b2027;--ink:#e9ecf1;--soft:#c2c9d4;--muted:#8f99a8;--line:#262c35;--accent:#8aa2ff;
--video:#9492ff;--audio:#35c4b3;--text:#e3a548;--class:#f06595;--separator:#5d6776;--note-bg:#2a2213;--note-line:#4c3d1c;--note-ink:#f0d6a0;
--cursor:#ff6b81;--shadow:none}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);-webkit-font-smoothing:antialiased;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
main{max-width:1280px;margin:0 auto;padding:40px 28px 64px}
h1,h2,p,ul,dl,dd,figure,blockquote{margin:0;padding:0}
ul{list-style:none}
h1{font-size:clamp(26px,3.2vw,36px);line-height:1.15;letter-spacing:-.02em;font-weight:650;text-wrap:balance}
h2{font-size:17px;line-height:1.3;font-weight:620;letter-spacing:-.01em}
code{font:12.5px/1.4 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
.eyebrow{color:var(--muted);font-size:13px;margin-bottom:8px}
.note,.hint{color:var(--muted);font-size:13px}
html:not(.js) .scripted{display:none}
[hidden]{display:none!important}
:focus-visible{outline:2px solid var(--accent);outline-offset:3px;border-radius:6px}

.sources{display:flex;flex-wrap:wrap;gap:8px;margin-top:18px}
.source{display:flex;flex-wrap:wrap;align-items:baseline;gap:2px 10px;background:var(--surface);border:1px solid var(--line);border-radius:10px;padding:7px 12px 7px 10px;font-size:14px;max-width:100%}
.source .name{font-weight:560}
.source .facts{color:var(--muted);font-size:13px}
.kind{font-size:12px;font-weight:600;color:var(--kind,var(--muted))}
.kind::before{content:"";display:inline-block;width:8px;height:8px;border-radius:3px;background:currentColor;margin-right:6px}
.video,.image{--kind:var(--video)}.audio{--kind:var(--audio)}.text,.closeness{--kind:var(--text)}.class{--kind:var(--class)}.separator{--kind:var(--separator)}

.model{display:flex;gap:12px;align-items:baseline;margin-top:14px;font-size:14px;color:var(--soft)}
.model strong{color:var(--ink);font-weight:600}
.model.random{background:var(--note-bg);border:1px solid var(--note-line);color:var(--note-ink);border-radius:12px;padding:12px 16px}
.model.random strong,.model.random .kind{color:inherit}
.model.random .kind{white-space:nowrap}
.model.random p{max-width:112ch}
.warning{margin-top:12px;color:var(--cursor);font-weight:560;font-size:14px}

.numbers{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:1px;margin-top:22px;background:var(--line);border:1px solid var(--line);border-radius:14px;overflow:hidden;box-shadow:var(--shadow)}
.numbers>div{background:var(--surface);padding:14px 18px}
dt{color:var(--muted);font-size:13px}
dd{font-size:21px;font-weight:600;letter-spacing:-.01em;line-height:1.35}
dd small{display:block;font-size:12.5px;font-weight:400;letter-spacing:0;color:var(--muted)}

.shares{display:flex;flex-wrap:wrap;align-items:center;gap:10px 20px;margin-top:16px}
.shares svg{display:block;flex:1 1 240px;height:8px;border-radius:4px;background:var(--line)}
.shares ul{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13px;color:var(--muted)}
.shares li::before{content:"";display:inline-block;width:8px;height:8px;border-radius:3px;background:var(--kind);margin-right:7px}
.shares b{color:var(--ink);font-weight:600}
.fill-video{fill:var(--video)}.fill-audio{fill:var(--audio)}.fill-text{fill:var(--text)}.fill-class{fill:var(--class)}.fill-separator{fill:var(--separator)}

.card{background:var(--surface);border:1px solid var(--line);border-radius:16px;box-shadow:var(--shadow);padding:20px 22px 22px;margin-top:22px}
.card-head{display:flex;flex-wrap:wrap;align-items:center;gap:8px 18px;margin-bottom:14px}
.card-head .hint{flex:1}
button{font:inherit;font-size:13px;font-weight:560;color:var(--ink);background:var(--sunken);border:1px solid var(--line);border-radius:8px;padding:4px 12px;cursor:pointer}
button:hover{border-color:var(--muted)}

.texts figure+figure{margin-top:18px}
.texts figcaption{color:var(--muted);font-size:13px;margin-bottom:6px}
blockquote{white-space:pre-wrap;max-height:19em;overflow:auto;font-size:15px;line-height:1.6;max-width:78ch;border-left:3px solid var(--text);padding-left:16px;color:var(--soft)}
details summary{cursor:pointer;list-style:none;display:flex;align-items:center;gap:8px}
details summary::-webkit-details-marker{display:none}
details summary::before{content:"";width:7px;height:7px;border-right:2px solid var(--muted);border-bottom:2px solid var(--muted);transform:rotate(-45deg);transition:transform .15s}
details[open] summary::before{transform:rotate(45deg)}
.scroll{overflow-x:auto;margin-top:12px}
table{border-collapse:collapse;width:100%;font-size:14px}
th,td{text-align:left;font-weight:400;padding:7px 16px 7px 0;border-top:1px solid var(--line);vertical-align:top}
th{color:var(--muted);white-space:nowrap;width:1%}
tr:first-child>*{border-top:0}

@media (max-width:720px){
:root{--gutter:0px}
main{padding:24px 14px 40px}
.card{padding:16px 14px 18px;border-radius:14px}
.model.random{flex-direction:column;gap:4px}
.numbers{grid-template-columns:1fr 1fr}
.numbers>div{padding:11px 14px}
.numbers>div:last-child:nth-child(odd){grid-column:1/-1}
dd{font-size:18px}
}
@media (prefers-reduced-motion:reduce){*{transition:none!important}}
@media print{.card{break-inside:avoid;box-shadow:none}}
`;
