/** The timeline and the matrix. */
export const trackStyle = `
.thumbs{display:flex;flex-wrap:wrap;gap:8px}
.thumbs img{display:block;border-radius:4px;height:72px;width:auto;background:var(--sunken)}
.thumbs figcaption{font-size:12px;color:var(--muted)}

.readout{position:sticky;top:0;z-index:3;display:flex;align-items:center;gap:14px;min-height:60px;padding:8px 0;background:var(--surface);border-bottom:1px solid var(--line)}
.preview{flex:none;width:78px;height:44px;border-radius:6px;overflow:hidden;background:var(--sunken)}
.preview:empty{display:none}
.preview img{display:block;width:100%;height:100%;object-fit:contain}
.now{flex:1;min-width:0;display:flex;flex-direction:column}
.now output{font-size:20px;font-weight:620;letter-spacing:-.01em;line-height:1.25}
#now-cue{font-size:13.5px;color:var(--soft);white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
#now-facts{display:flex;flex-wrap:wrap;justify-content:flex-end;gap:2px 16px;font-size:13px;color:var(--muted);text-align:right}
#now-facts span{white-space:pre-wrap}
#now-facts span::before{content:"";display:inline-block;width:8px;height:8px;border-radius:3px;background:var(--kind,var(--muted));margin-right:6px}
#now-facts b{color:var(--ink);font-weight:560}

.tracks{position:relative;padding-top:6px;touch-action:pan-y;cursor:crosshair;user-select:none;-webkit-user-select:none}
.track{display:grid;grid-template-columns:var(--gutter) minmax(0,1fr);margin-top:10px}
.track.ruler{margin-top:0}
.track.ruler .label{visibility:hidden}
.label{padding:1px 12px 0 0;font-size:13px;line-height:1.3;min-width:0}
.label b{display:block;font-weight:560;color:var(--ink)}
.label span{display:block;color:var(--muted);font-size:12px}
.heat .label b::before{content:"";display:inline-block;width:8px;height:8px;border-radius:3px;background:var(--kind);margin-right:6px}
.track.curve{margin-top:4px}
.curve .label b{font-weight:400;font-size:12px;color:var(--muted)}
.curve .label i{display:inline-block;width:12px;margin-right:6px;vertical-align:middle}
.curve .label i.area{height:8px;background:var(--kind);opacity:.6;border-radius:2px}
.curve .label i.line{height:2px;background:var(--kind);border-radius:1px}
.plot{position:relative;min-width:0}
.plot canvas{display:block;width:100%;height:100%}
.ruler .plot{height:24px}
.wave .plot{height:72px}
.heat .plot{height:128px;border-radius:6px;overflow:hidden;background:var(--sunken)}
.curve .plot{height:40px}
.like .plot{height:24px;border-radius:5px;overflow:hidden;background:var(--sunken)}
.like{padding-top:2px}
.js .tracks .thumbs{display:block;position:relative;height:64px;overflow:hidden;border-radius:6px;background:var(--sunken)}
.js .tracks .thumbs figure{position:absolute;top:0;height:100%;overflow:hidden;border-radius:4px}
.js .tracks .thumbs img{width:100%;height:100%;object-fit:cover;border-radius:0;pointer-events:none}
.js .tracks .thumbs figcaption{display:none}
#cues{position:relative;height:28px;overflow:hidden;border-radius:5px;background:var(--sunken)}
#cues div{position:absolute;top:2px;bottom:2px;padding:0 6px;font-size:12px;line-height:24px;white-space:nowrap;overflow:hidden;text-overflow:ellipsis;border-radius:4px;background:color-mix(in srgb,var(--text) 20%,var(--surface));color:var(--ink)}
#cues div.thin{padding:0}
#cues div.on{background:color-mix(in srgb,var(--text) 42%,var(--surface))}
.overlay{position:absolute;top:0;bottom:0;left:var(--gutter);right:0;pointer-events:none;overflow:hidden}
#cursor,#hover{position:absolute;top:0;bottom:0;left:0;width:0;border-left:1.5px solid var(--cursor);margin-left:-.75px}
#cursor::before{content:"";position:absolute;top:0;left:-5.75px;border:5px solid transparent;border-top:7px solid var(--cursor)}
#hover{border-left:1px dashed var(--ink);opacity:.55}
#selection{position:absolute;top:0;bottom:0;background:var(--accent);opacity:.16}

.switches{display:flex;flex-wrap:wrap;gap:10px;margin-left:auto}
.segmented{display:flex;border:0;margin:0;padding:3px;background:var(--sunken);border-radius:10px;min-width:0}
.segmented legend{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.segmented label{cursor:pointer}
.segmented input{position:absolute;opacity:0;pointer-events:none}
.segmented span{display:block;padding:4px 12px;border-radius:7px;font-size:13px;color:var(--muted)}
.segmented input:checked+span{background:var(--raised);color:var(--ink);font-weight:560;box-shadow:0 1px 3px rgba(16,24,40,.16)}
.segmented input:focus-visible+span{outline:2px solid var(--accent)}
.matrix-body{display:grid;grid-template-columns:minmax(0,720px) minmax(220px,1fr);gap:36px;align-items:start}
.square{aspect-ratio:1/.966;position:relative}
.square canvas{position:absolute;inset:0;width:100%;height:100%;cursor:crosshair;touch-action:pan-y}
aside{display:flex;flex-direction:column;gap:20px;max-width:420px}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:14px}
.pair figure>div{aspect-ratio:16/9;border-radius:8px;overflow:hidden;background:var(--sunken)}
.pair.bare figure>div{display:none}
.pair img{display:block;width:100%;height:100%;object-fit:contain}
.pair figcaption{margin-top:6px;line-height:1.35}
.pair b{display:block;font-weight:600;font-size:16px}
.pair span{font-size:12px;color:var(--muted)}
.value{display:flex;align-items:baseline;gap:10px;color:var(--muted);font-size:13px}
.value output{font-size:30px;font-weight:620;letter-spacing:-.02em;color:var(--ink)}
.legend canvas{display:block;width:100%;height:10px;border-radius:5px}
.legend div{display:flex;justify-content:space-between;font-size:12px;color:var(--muted);margin-top:4px}

@media (max-width:720px){
.track{grid-template-columns:minmax(0,1fr);margin-top:12px}
.track .label{display:flex;align-items:baseline;gap:8px;padding-bottom:3px}
.track.ruler .label{display:none}
.track.curve .label{gap:12px}
.heat .plot{height:96px}
.wave .plot{height:56px}
.js .tracks .thumbs{height:48px}
.readout{gap:10px;flex-wrap:wrap}
#now-facts{flex-basis:100%;justify-content:flex-start;text-align:left;gap:2px 12px;font-size:12px}
.card-head .hint{flex-basis:100%}
#now-facts b{margin-right:2px}
.switches{margin-left:0}
.matrix-body{grid-template-columns:minmax(0,1fr);gap:20px}
.segmented span{padding:4px 10px}
}
@media (min-width:721px) and (max-width:960px){
.matrix-body{grid-template-columns:minmax(0,1fr) 220px;gap:24px}
}
`;
