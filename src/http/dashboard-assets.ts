/**
 * The dashboard's files as a browser is sent them, by name. Generated from src/http/dashboard by
 * scripts/dashboard.ts: change the files there, and run it.
 */

export const dashboardAssets: Readonly<Record<string, string>> = {
  "cluster.js": `import{ago as g,announce as x,byId as f,count as w,make as a,setText as r}fr\
om"./elements.js";
const k=1e3,y={numeric:!0};export function verdictOf(t){const{leader:e,membe\
rs:s,
node:i,quorum:n,readOnly:c}=t,d=s.filter(({alive:h})=>!h);if(e===null)return\
{
kind:"bad",title:n?"No leader":"No leader, no quorum",text:"Writes are refus\
\\
ed until one is elected; reads of what is here go on."};if(!n)return{kind:"b\
\\
ad",title:"No quorum",text:"Fewer than half of the voters are in reach: writ\
\\
es are refused, reads go on."};if(c)return{kind:"bad",title:"Read-only",text\
:\`\${e.
name} leads and refuses writes: its disk is full, or nearly.\`};if(t.source=\
==
"local"&&e.id!==i.id)return{kind:"warn",title:"The leader does not answer",t\
ext:\`\${i.
name} gets no answer from \${e.name}. What is below, it knows alone.\`};cons\
t u=\`\${e.
name} leads\`;if(d.length>0){const h=d.map(({name:l})=>l).join(", "),o=\`\${\
u};\\
 not in reach: \${h}. The others make a quorum.\`;return{kind:"warn",title:\`\
\${d.
length} of \${s.length} not in reach\`,text:o}}const m=s.length===1?"it is t\
he\\
 only member":\`all \${s.length} are in reach\`;return{kind:"good",title:"He\
alt\\
hy",text:\`\${u}, \${m}.\`}}export class ClusterView{#e=new Map;#t="";show(e\
){const{
leader:s,node:i}=e,n=verdictOf(e);document.title=\`\${i.name}: \${n.title} \\\
xB7 pr\\
oglog\`,r(f("node-name"),i.name),r(f("state-title"),n.title),r(f("state-text\
"),
n.text),f("state-mark").className=\`mark \${n.kind}\`,r(f("fact-leader"),s?.\
name??
"none"),r(f("fact-term"),w(e.term)),r(f("fact-end"),w(e.endOffset)),r(f("fac\
\\
t-commit"),w(e.commitIndex));const c=e.readOnly||s===null;r(f("fact-writes")\
,
c?"refused":"accepted"),r(f("fact-cluster"),e.clusterId??"none yet"),this.#n\
(
e);const d=\`\${n.title}. \${n.text}\`;d!==this.#t&&x(d),this.#t=d}#n({membe\
rs:e,
node:s,source:i}){const n=new Set(e.map(({id:o})=>o));for(const[o,l]of this.\
#e)
n.has(o)||(l.remove(),this.#e.delete(o));let c=!1;const d=[...e].sort((o,l)=\
>o.
name.localeCompare(l.name,"en",y));for(const o of d){let l=this.#e.get(o.id)\
;
l===void 0&&(l=N(),this.#e.set(o.id,l),c=!0),b(l,o,{isSelf:o.id===s.id})}con\
st u=d.
flatMap(({id:o})=>this.#e.get(o)??[]);c&&f("members").replaceChildren(...u);
const m=i==="leader"?"As the leader knows it":\`As \${s.name} alone knows it\
: \\
there is no contact with a leader\`,h=e.some(({id:o,role:l})=>o===s.id&&l===\
"\\
leader");r(f("members-caption"),h?"As this node, the leader, knows it":m)}}f\
unction N(){
const t=a("th",{scope:"row"});t.append(a("span",{class:"name"}),a("span",{cl\
ass:"\\
sub mono"}));const e=a("td",{},a("span",{class:"chip"}),a("span",{class:"sub\
"})),
s=a("td",{},a("span",{class:"health"}),a("span",{class:"sub"})),i=a("td",{cl\
ass:"\\
number"}),n=a("td",{class:"number spare"});return a("tr",{},t,e,s,i,n,a("td"\
,
{class:"mono spare"}))}function b(t,e,{isSelf:s}){const[i,n,c,d,u,m]=[...t.c\
hildren],
h=l=>p(l,1);v(p(i,0),e,s),r(h(i),e.httpAddr),r(p(n,0),e.role),p(n,0).classNa\
me=
\`chip \${e.role}\`,r(h(n),e.voter?"voter":"no vote"),r(p(c,0),e.alive?"in r\
eac\\
h":"not in reach"),p(c,0).className=\`health \${e.alive?"good":"bad"}\`;cons\
t{lastContactMs:o}=e;
r(h(c),o===null?"":o===0?"now":g(o)),$(d,e.lag),d?.classList.toggle("behind"\
,
(e.lag??0)>=k),$(u,e.matchIndex),m!==void 0&&r(m,e.rpcAddr)}function $(t,e){
if(t!==void 0){if(e!==null)r(t,w(e));else if(t.childElementCount===0){const \
s=a(
"span",{"aria-hidden":"true"},"\\u2013");t.replaceChildren(s,a("span",{class\
:"\\
hidden"},"unknown"))}}}function p(t,e){return t?.children[e]}function v(t,{n\
ame:e,
httpAddr:s},i){const n=i?void 0:dashboardOf(s),c=\`\${e} \${i?"this node":n?\
?""}\`;
if(t.dataset.told===c)return;t.dataset.told=c;const d=n===void 0?e:a("a",{hr\
ef:n},
e);t.replaceChildren(d),i&&t.append(" ",a("span",{class:"note"},"this node")\
)}
export function dashboardOf(t){return/^(?:[A-Za-z0-9._-]{1,253}|\\[[0-9A-Fa-\
f:.]{2,45}\\]):\\d{1,5}$/.
test(t)?\`http://\${t}/\`:void 0}
`,
  "dashboard.css": `:root{--ground: #f4f5f8;--card: #ffffff;--sunk: #f0f2f5;--line: #d8dce3;--ed\
ge:
#818b98;--text: #1b2029;--soft: #57606c;--accent: #1f5fd0;--on-accent: #ffff\
ff;
--good: #17713a;--good-ground: #e2f5e8;--warn: #855500;--warn-ground: #fdf1d\
6;
--bad: #bd1d2b;--bad-ground: #fdeaea;--second: #b3480c;--mono: ui-monospace,
"SF Mono", "Cascadia Mono", "DejaVu Sans Mono", Menlo, monospace;color-schem\
e:light
dark}@media(prefers-color-scheme:dark){:root{--ground: #0e1116;--card: #171b\
22;
--sunk: #0f1319;--line: #2c333d;--edge: #727d8a;--text: #e7ebf0;--soft: #9aa\
4b0;
--accent: #7aaeff;--on-accent: #0b1a33;--good: #55cf86;--good-ground: #12301\
f;
--warn: #e8b341;--warn-ground: #342809;--bad: #ff8a86;--bad-ground: #3c1719;
--second: #f7a35c}}*{box-sizing:border-box}body{margin:0 auto;max-width:72re\
m;
padding:0 1.25rem 2rem;background:var(--ground);color:var(--text);font:.9375\
rem/1.5
system-ui,-apple-system,Segoe UI,sans-serif}h1,h2,h3,p,dl,dd,figure,fieldset\
{
margin:0}h2,h3{font-size:1rem;font-weight:600}a,.link{color:var(--accent);te\
xt-decoration-thickness:1px;
text-underline-offset:.2em}:focus-visible{outline:2px solid var(--accent);ou\
tline-offset:2px}
main:focus{outline:none}[hidden]{display:none!important}.hidden,.skip:not(:f\
ocus){
position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);
white-space:nowrap}.skip{position:absolute;z-index:2;padding:.5rem 1rem;back\
ground:var(--card)}
.mono{font-family:var(--mono);font-size:.8125rem}.note,.sub{color:var(--soft\
);
font-size:.8125rem}.name .note{font-weight:400}.none{color:var(--soft);font-\
style:italic}
.sub{display:block}.good{color:var(--good)}.bad{color:var(--bad)}.chip{displ\
ay:inline-block;
max-width:100%;padding:0 .5em;border:1px solid var(--line);border-radius:1em\
;
background:var(--sunk);color:var(--soft);font-size:.8125rem;overflow-wrap:an\
ywhere}
.members .chip{white-space:nowrap}.chip.leader{border-color:var(--accent);ba\
ckground:var(--accent);
color:var(--on-accent)}.top{display:flex;align-items:center;gap:.75rem;paddi\
ng:1rem
0}.top h1{flex:1;min-width:0;padding-left:.75rem;border-left:1px solid var(-\
-line);
font-size:1rem;overflow-wrap:anywhere}.brand{display:flex;align-items:center\
;
gap:.5rem;font-weight:700;letter-spacing:-.01em}#freshness:before,#records-t\
itle:before,
.health:before{content:"";display:inline-block;width:.5rem;height:.5rem;marg\
in-right:.4em;
border-radius:50%;background:currentcolor}#freshness{border-color:transparen\
t;
background:var(--good-ground);color:var(--good);white-space:nowrap}.stale #f\
reshness{
background:var(--bad-ground);color:var(--bad)}footer{padding-top:1.25rem;fon\
t:.8125rem
var(--mono)}footer a{display:inline-block;margin-right:1rem;padding:.25rem 0\
}
main{display:grid;gap:1rem}main>*,.columns>*,.stack>*,.plots>*{min-width:0}.\
card{
padding:1rem 1.25rem;border:1px solid var(--line);border-radius:.625rem;back\
ground:var(--card)}
.stale .state,.stale .plots .card,.stale #records-card,.stale .state~.card{b\
order:1px
dashed var(--edge);filter:grayscale(1)}.banner{display:flex;flex-wrap:wrap;a\
lign-items:center;
justify-content:space-between;gap:.5rem 1rem;padding:.75rem 1.25rem;border:1\
px
solid currentcolor;border-radius:.625rem;background:var(--bad-ground)}.head{
display:flex;align-items:center;justify-content:space-between;gap:1rem}.verd\
ict{
display:flex;gap:.75rem}.verdict h2{font-size:1.25rem;line-height:1.3}.verdi\
ct
p{color:var(--soft)}.mark{flex:none;width:1.75rem;height:1.75rem;border-radi\
us:50%;
background:var(--sunk);color:var(--soft);font-weight:700;line-height:1.75rem\
;
text-align:center}.mark:before{content:"\\2026"}.mark.good{background:var(--\
good-ground);
color:var(--good)}.mark.good:before{content:"\\2713"}.mark.warn{background:v\
ar(--warn-ground);
color:var(--warn)}.mark.warn:before{content:"!"}.mark.bad{background:var(--b\
ad-ground);
color:var(--bad)}.mark.bad:before{content:"\\2715"}.facts{display:grid;grid-\
template-columns:repeat(5,minmax(0,auto))
minmax(0,2fr);gap:.75rem 2rem;margin-top:1rem;padding-top:.875rem;border-top\
:1px
solid var(--line)}dt{color:var(--soft);font-size:.8125rem}.facts dd{font-siz\
e:1.0625rem;
font-weight:600;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}.fa\
cts
dd.mono{font-size:.8125rem;font-weight:400;line-height:1.6rem}table{width:10\
0%;
border-collapse:collapse}caption{padding-bottom:.5rem;color:var(--soft);font\
-size:.8125rem;
text-align:left}th,td{padding:.5rem 1rem .5rem 0;border-top:1px solid var(--\
line);
font-weight:400;text-align:left;vertical-align:top}tr>:last-child{padding-ri\
ght:0}
thead th{border:0;padding-block:.25rem;color:var(--soft);font-size:.8125rem}
.number{text-align:right;font-variant-numeric:tabular-nums}.name{font-weight\
:600;
overflow-wrap:anywhere}.members .number,.members td.mono{padding-right:2rem}
.members .mono,.members td.number,.verdict{overflow-wrap:anywhere}.verdict>d\
iv{
min-width:0}.behind{color:var(--warn);font-weight:600}.health{white-space:no\
wrap}
.plots{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:1rem}.\
plots
details{grid-column:1 / -1;padding-block:.5rem}summary{padding-block:.25rem;
cursor:pointer}figcaption{display:flex;flex-wrap:wrap;align-items:baseline;j\
ustify-content:space-between;
gap:0 1rem;margin-bottom:.5rem}.now{color:var(--soft);font-size:.8125rem;fon\
t-variant-numeric:tabular-nums}
.now output{color:var(--text);font-size:1.0625rem;font-weight:600}.key:befor\
e{
content:"";display:inline-block;width:.875rem;margin:0 .25rem .25em .5rem;bo\
rder-top:2px
solid var(--accent)}.key.p50:before{margin-left:0}.key.p99:before{border-top\
:2px
dashed var(--second)}.plot{position:relative;height:132px;touch-action:pan-y\
}
.plot svg{display:block;overflow:visible}.plot text{fill:var(--soft);stroke:\
var(--card);
stroke-width:3px;paint-order:stroke;font-size:11px;font-variant-numeric:tabu\
lar-nums}
.grid{stroke:var(--line)}.line{fill:none;stroke:var(--accent);stroke-width:1\
.75;
stroke-linecap:round;stroke-linejoin:round}.line.p99{stroke:var(--second);st\
roke-dasharray:4
3}.area{fill:var(--accent);opacity:.13}.cross{stroke:var(--edge);stroke-dash\
array:2
2}.dot{fill:var(--accent);stroke:var(--card);stroke-width:1.5}.dot.p99{fill:\
var(--second)}
.plot+.note{margin-top:.375rem}.row.send{align-items:center}kbd{padding:0 .3\
em;
border:1px solid var(--line);border-radius:.25rem;font:inherit}.tip{position\
:absolute;
top:0;right:0;padding:0 .5rem;border:1px solid var(--line);border-radius:.25\
rem;
background:var(--card);font-size:.8125rem;font-variant-numeric:tabular-nums;
white-space:pre;pointer-events:none}.tip.left{right:auto;left:3.5rem}.column\
s{
display:grid;grid-template-columns:minmax(0,3fr) minmax(0,2fr);gap:1rem}.sta\
ck{
display:grid;gap:1rem;align-content:start}#records-card{display:flex;flex-di\
rection:column}
#records-title:before{background:var(--edge)}.live #records-title:before{bac\
kground:var(--good)}
.scroller{position:relative;flex:1 1 26rem;height:26rem;margin:.5rem -1.25re\
m
-1rem;padding:0 1.25rem;overflow:auto;border-top:1px solid var(--line)}.scro\
ller:focus-visible{
outline-offset:-2px}.records{table-layout:fixed}.records tbody tr:first-chil\
d>
*{border-top:0}.records thead th{padding-block:0;line-height:0}.records th:f\
irst-child{
width:12rem;font-variant-numeric:tabular-nums}.records time{float:right;colo\
r:var(--soft);
font-size:.8125rem}.records td{overflow-wrap:anywhere}.message{display:-webk\
it-box;
overflow:hidden;font:.8125rem/1.6 var(--mono);unicode-bidi:isolate;white-spa\
ce:pre-wrap;
-webkit-box-orient:vertical;-webkit-line-clamp:4}.gap td{color:var(--soft);f\
ont-size:.8125rem;
text-align:center}form{display:grid;gap:.75rem;margin-top:.5rem}.row{display\
:flex;
flex-wrap:wrap;align-items:end;gap:.75rem}.grow{flex:1;min-width:7rem}legend\
{
padding:0}.field,legend{font-size:.8125rem;color:var(--soft)}.field input,te\
xtarea{
display:block;width:100%;min-height:2.25rem;margin-top:.25rem;padding:.375re\
m
.625rem;border:1px solid var(--edge);border-radius:.375rem;background:var(--\
sunk);
color:var(--text);font:.875rem/1.5 var(--mono)}textarea{resize:vertical}[ari\
a-invalid]{
border-color:var(--bad)!important}fieldset{min-width:0;padding:0;border:0}fi\
eldset
label{display:inline-flex;align-items:center;gap:.25rem;min-height:2.25rem;m\
argin-right:.75rem}
input[type=radio]{margin:0;accent-color:var(--accent)}button{min-height:2.25\
rem;
padding:0 .875rem;border:1px solid var(--edge);border-radius:.375rem;backgro\
und:var(--card);
color:var(--text);font:inherit;font-size:.875rem;cursor:pointer}button:hover\
{
background:var(--sunk)}button.primary{border-color:var(--accent);background:\
var(--accent);
color:var(--on-accent);font-weight:600}button.primary:hover{filter:brightnes\
s(1.08)}
button:disabled{cursor:progress}button.link{min-height:0;padding:0;border:0;
background:none;color:var(--accent);font-size:inherit;text-decoration:underl\
ine;
text-decoration-thickness:1px;text-underline-offset:.2em}.head button{min-he\
ight:2rem}
.fault,.result{font-size:.875rem;overflow-wrap:anywhere}.fault{color:var(--b\
ad)}
.result strong{display:block}.result>*{margin-top:.75rem}.fields{display:gri\
d;
grid-template-columns:repeat(auto-fill,minmax(8rem,1fr));gap:.5rem 1rem}pre{
max-height:20rem;margin-bottom:0;padding:.625rem;overflow:auto;border-radius\
:.375rem;
background:var(--sunk);font:.8125rem/1.6 var(--mono);overflow-wrap:anywhere;
unicode-bidi:isolate;white-space:pre-wrap}@media(max-width:52rem){.columns,.\
plots{
grid-template-columns:minmax(0,1fr)}.facts{grid-template-columns:repeat(3,mi\
nmax(0,1fr));
column-gap:.75rem}.facts .wide{grid-column:1 / -1}.spare{display:none}.membe\
rs
.number{padding-right:0}}@media(max-width:30rem){body{padding-inline:.75rem}
.card,.banner{padding-inline:.875rem}.scroller{margin-inline:-.875rem;paddin\
g-inline:.875rem}
th,td{padding-right:.5rem}.unit{display:none}.members .mono{font-size:.75rem\
}
.records th:first-child{width:6.5rem}.records time{display:block;float:none}
button,.field input,fieldset label{min-height:2.75rem}button.link{min-height\
:1.5rem}
.steps button,.send button{flex:1}.keys{display:none}.members :is(th,td){fon\
t-size:.8125rem}
.members .name{font-size:.9375rem}}@media(prefers-reduced-motion:no-preferen\
ce){
.records tbody tr:first-child{animation:arrive .6s ease-out}@keyframes arriv\
e{0%{
background:var(--good-ground)}}}
`,
  "elements.js": `export function byId(t){const n=document.getElementById(t);if(n===null)throw\
 new Error(
\`the page has no #\${t}\`);return n}export function inputById(t){return byI\
d(t)}
export function make(t,n={},...e){const o=document.createElement(t);for(cons\
t[
u,c]of Object.entries(n))o.setAttribute(u,c);return o.append(...e),o}export \
function setText(t,n){
t.textContent!==n&&(t.textContent=n)}const s=new Intl.NumberFormat("en",{max\
imumFractionDigits:0,
useGrouping:!0});export function count(t){return s.format(t).replaceAll(",",
"\\u202F")}export function short(t){return t>=1e6?\`\${r(t/1e6)}M\`:t>=1e4?\`\
\${r(
t/1e3)}k\`:t>=100?count(t):r(t)}function r(t){return String(Number(t.toFixed\
(
t<10?2:1)))}export function duration(t){return t<.001?\`\${r(t*1e6)} \\xB5s\`\
:t<
1?\`\${r(t*1e3)} ms\`:\`\${r(t)} s\`}export function ago(t){if(t<1e3)return\`\
\${count(
t)} ms ago\`;const n=t/1e3;return n<120?\`\${count(n)} s ago\`:n<7200?\`\${c\
ount(n/
60)} min ago\`:\`\${count(n/3600)} h ago\`}export function clockTime(t,{mill\
iseconds:n=!1}={}){
const e=new Date(t),u=[e.getHours(),e.getMinutes(),e.getSeconds()].map(c=>St\
ring(
c).padStart(2,"0")).join(":");return n?\`\${u}.\${String(e.getMilliseconds()\
).padStart(
3,"0")}\`:u}const a=4e3;let f=-a,i="";export function announce(t){const n=f+\
a-
performance.now(),e=i!=="";i=t,!e&&setTimeout(()=>{f=performance.now(),byId(
"announcer").textContent=i,i=""},Math.max(0,n))}
`,
  "forms.js": `import{byId as d,clockTime as x,count as h,duration as T,inputById as u,make\
 as a,
setText as g}from"./elements.js";import{recordOf as E,visible as p}from"./re\
cord-text.js";
const w=15e3,v=2e4,S={not_applied:"Nothing was appended.",unknown:"It may ha\
\\
ve been appended. To press Append again is safe: it is appended once at most\
\\
.",applied:"It was appended."};export class Forms{#s=u("message");#r=u("key"\
);#e=u(
"offset");#t=u("append-button");#n;#i=0;#a=0;constructor(){const t=d("append\
");
t.addEventListener("submit",e=>{e.preventDefault(),this.#o()}),t.addEventLis\
tener(
"input",()=>{this.#n=void 0}),this.#s.addEventListener("keydown",e=>{e.key==\
=
"Enter"&&(e.ctrlKey||e.metaKey)&&!e.isComposing&&this.#o()}),d("read").addEv\
entListener(
"submit",e=>{e.preventDefault(),this.#l()}),d("read-before").addEventListene\
r(
"click",()=>{this.#d(-1)}),d("read-after").addEventListener("click",()=>{thi\
s.#d(
1)}),d("read-newest").addEventListener("click",()=>{this.read(Math.max(0,thi\
s.#i-
1))})}follow(t){this.#i=t}async#o(){if(this.#t.disabled)return;const t=this.\
#c();
if(t===void 0)return;this.#t.disabled=!0,g(this.#t,"Appending\\u2026"),this.\
#n??=
L();const e=performance.now(),s=d("append-result");try{const n=await fetch("\
\\
dashboard/append",{method:"POST",headers:{"Content-Type":"application/json",
"Idempotency-Key":this.#n},body:t,redirect:"manual",signal:AbortSignal.timeo\
ut(
w)});n.type==="opaqueredirect"?s.replaceChildren(I()):this.#p(n.ok,await n.j\
son(),
performance.now()-e)}catch{const n=a("strong",{},"No answer came.");s.replac\
eChildren(
a("p",{class:"bad"},n,\` \${S.unknown}\`))}finally{this.#t.disabled=!1,g(thi\
s.#t,
"Append")}}#c(){const t=this.#s.value,e=u("append").querySelector("input:che\
\\
cked")?.matches("[value=json]"),s=e===!0?C(t):void 0;if(k(this.#s,"message-f\
\\
ault",s),s!==void 0)return;const n=this.#r.value,o=n===""?"":\`,"key":\${JSO\
N.
stringify(n)}\`;return\`{"message":\${e===!0?t:JSON.stringify(t)}\${o}}\`}#p\
(t,e,s){
const n=d("append-result");if(!t){e.outcome!=="unknown"&&(this.#n=void 0),n.
replaceChildren($(e));return}this.#n=void 0;const o=a("button",{type:"button\
",
class:"link"},h(e.offset));o.setAttribute("aria-label",\`Read offset \${e.of\
fset}\`),
o.addEventListener("click",()=>{this.read(e.offset)});const r=e.duplicate===
!0?"Had been appended at offset ":"Appended at offset ",l=\` in \${T(s/1e3)}\
, \\
on the disks of a majority.\`;n.replaceChildren(a("p",{class:"good"},r,o,l))\
}async#l(){
const t=this.#e.value.replace(/[\\s\\u202f]/g,""),e=Number(t),s=/^\\d+$/.tes\
t(t)&&
Number.isSafeInteger(e),n=s?void 0:"An offset is a whole number from 0.";k(t\
his.#e,
"read-fault",n),s?await this.read(e):this.#e.focus()}async#d(t){const e=this\
.#e.
value,s=/^\\d+$/.test(e)?Number(e)+t:0;await this.read(Math.max(0,s))}async \
read(t){
this.#e.value=String(t),k(this.#e,"read-fault",void 0),this.#a+=1;const e=th\
is.#a,
s=d("read-result");let n;try{const o=AbortSignal.timeout(w),r=await fetch(\`\
D\\
ata?offset=\${t}\`,{signal:o}),l=await r.text();n=r.ok?J(E(l)):[$(JSON.parse\
(l))]}catch{
n=[a("p",{class:"bad"},"No answer came.")]}e===this.#a&&s.replaceChildren(..\
.n)}}
function L(){return\`dashboard-\${[...crypto.getRandomValues(new Uint8Array(\
16))].
map(t=>t.toString(16).padStart(2,"0")).join("")}\`}function C(i){try{JSON.pa\
rse(
i);return}catch(t){return\`This is not JSON: \${t.message}\`}}function k(i,t\
,e){
const s=d(t);s.hidden=e===void 0,g(s,e??""),e===void 0?i.removeAttribute("ar\
\\
ia-invalid"):(i.setAttribute("aria-invalid","true"),i.focus())}function I(){
const i=a("strong",{},"The leader has just changed.");return a("p",{class:"b\
\\
ad"},i," Nothing was appended; press Append again.")}function $({title:i,det\
ail:t,
outcome:e}){const s=a("strong",{},p(String(i))),n=a("p",{class:"bad"},s,\` \$\
{p(
String(t))}\`),o=S[e];return o!==void 0&&n.append(\` \${o}\`),n}function J({\
offset:i,
timestampMs:t,key:e,headers:s,message:n,form:o}){const r=new Date(t).toISOSt\
ring(),
A=\`\${r.slice(0,10)} \${x(t,{milliseconds:!0})}\`,m=a("dl",{class:"fields"}\
),c=(y,b)=>{
m.append(a("div",{},a("dt",{},y),a("dd",{},b)))};c("Offset",h(i)),c("Time",a\
(
"time",{datetime:r,title:r},A)),e!==void 0&&c("Key",p(e));for(const[y,b]of s\
)
c(p(y),p(b));c("Form",o),c("Length",\`\${h(n.length)} characters\`);const f=\
a("\\
pre",{tabindex:"0",dir:"ltr"},p(n,v));if(f.setAttribute("aria-label","Messag\
\\
e"),n===""&&f.append(a("span",{class:"none"},"empty")),n.length<=v)return[m,
f];const N=a("a",{href:\`Data?offset=\${i}\`},"All of it"),O=\`\${h(n.length\
-v)} \\
more characters. \`;return[m,f,a("p",{class:"note"},O,N)]}
`,
  "icon.svg": `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24">
<rect width="24" height="24" rx="6" fill="#1f5fd0" />
<path d="M6 7.5h12M6 12h12M6 16.5h7" stroke="#fff" stroke-width="2" stroke-l\
inecap="round" />
<circle cx="17" cy="16.5" r="2" fill="#7ee2b8" />
</svg>
`,
  "index.html": `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8" />
<meta name="viewport" content="width=device-width, initial-scale=1" />
<meta name="color-scheme" content="light dark" />
<title>proglog</title>
<link rel="icon" href="dashboard/icon.svg" />
<link rel="stylesheet" href="dashboard/dashboard.css" />
<script type="module" src="dashboard/main.js"></script>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header class="top">
<p class="brand"><img src="dashboard/icon.svg" alt="" width="24" height="24"\
 /> proglog</p>
<h1 id="node-name">…</h1>
<p id="freshness" class="chip">Connecting</p>
</header>
<main id="main" tabindex="-1">
<noscript>
<p class="banner bad">
This page needs JavaScript. The same is at <a href="cluster">/cluster</a>,
<a href="metrics">/metrics</a> and <a href="Data">/Data</a>.
</p>
</noscript>
<div id="banner" class="banner bad" role="alert" hidden>
<p><strong id="banner-title"></strong> <span id="banner-text"></span></p>
<button type="button" id="retry">Retry now</button>
</div>

<section class="state card" aria-labelledby="state-title">
<div class="verdict">
<span id="state-mark" class="mark" aria-hidden="true"></span>
<div>
<h2 id="state-title">Connecting</h2>
<p id="state-text">The first answer of the node is under way.</p>
</div>
</div>
<dl class="facts">
<div>
<dt>Leader</dt>
<dd id="fact-leader">–</dd>
</div>
<div>
<dt>Term</dt>
<dd id="fact-term">–</dd>
</div>
<div>
<dt>End offset</dt>
<dd id="fact-end">–</dd>
</div>
<div>
<dt>Commit index</dt>
<dd id="fact-commit">–</dd>
</div>
<div>
<dt>Writes</dt>
<dd id="fact-writes">–</dd>
</div>
<div class="wide">
<dt>Cluster id</dt>
<dd id="fact-cluster" class="mono">–</dd>
</div>
</dl>
</section>

<section class="card" aria-labelledby="members-title">
<h2 id="members-title">Members</h2>
<table class="members">
<caption id="members-caption">
Each member's role, health and lag
</caption>
<thead>
<tr>
<th scope="col">Member</th>
<th scope="col">Role</th>
<th scope="col">Health</th>
<th scope="col" class="number">Lag<span class="unit">, entries</span></th>
<th scope="col" class="number spare">Match index</th>
<th scope="col" class="spare">gRPC address</th>
</tr>
</thead>
<tbody id="members"></tbody>
</table>
</section>

<section class="plots" aria-labelledby="plots-title">
<h2 id="plots-title" class="hidden">The last five minutes</h2>
<figure class="card">
<figcaption>
<h3>Append rate</h3>
<p class="now"><output id="rate-now">–</output> <span>records/s</span></p>
</figcaption>
<div id="rate-plot" class="plot"></div>
<p class="note">Records applied here while this page is open.</p>
</figure>
<figure class="card">
<figcaption>
<h3>Append latency</h3>
<p class="now">
<span class="key p50">p50</span> <output id="p50-now">–</output>
<span class="key p99">p99</span> <output id="p99-now">–</output>
</p>
</figcaption>
<div id="latency-plot" class="plot"></div>
<p class="note" id="latency-note">
Appends that this node answered; estimated from buckets.
</p>
</figure>
<details id="values" class="card" aria-label="The plots as a table">
<summary>The plots as a table</summary>
<table>
<caption>
Append rate and latency in steps of ten seconds, newest first
</caption>
<thead>
<tr>
<th scope="col">Time</th>
<th scope="col" class="number">Records/s</th>
<th scope="col" class="number">p50</th>
<th scope="col" class="number">p99</th>
</tr>
</thead>
<tbody id="value-rows"></tbody>
</table>
</details>
</section>

<div class="columns">
<section class="card" id="records-card" aria-labelledby="records-title">
<div class="head">
<h2 id="records-title">Newest records</h2>
<button type="button" id="pause">Pause</button>
</div>
<p class="note" id="records-note">Waiting for the first record.</p>
<div
class="scroller"
id="scroller"
tabindex="0"
role="region"
aria-label="Newest records"
>
<table class="records">
<caption class="hidden">
Newest records, newest first
</caption>
<thead>
<tr>
<th scope="col"><span class="hidden">Offset and time</span></th>
<th scope="col"><span class="hidden">Key and message</span></th>
</tr>
</thead>
<tbody id="records"></tbody>
</table>
</div>
</section>

<div class="stack">
<section class="card" aria-labelledby="append-title">
<h2 id="append-title">Append</h2>
<form id="append" autocomplete="off">
<div class="field">
<label for="message">Message</label>
<textarea
id="message"
rows="3"
spellcheck="false"
aria-describedby="message-fault"
></textarea>
<p id="message-fault" class="fault" hidden></p>
</div>
<div class="row">
<fieldset>
<legend>Kept as</legend>
<label><input type="radio" name="form" value="text" checked /> Text</label>
<label><input type="radio" name="form" value="json" /> JSON</label>
</fieldset>
<div class="field grow">
<label for="key">Key (optional)</label>
<input id="key" type="text" spellcheck="false" />
</div>
</div>
<div class="row send">
<button type="submit" class="primary" id="append-button">Append</button>
<span class="note keys">or <kbd>Ctrl</kbd> <kbd>Enter</kbd> in the message</\
span>
</div>
</form>
<div id="append-result" class="result" role="status"></div>
</section>

<section class="card" id="read-card" aria-labelledby="read-title">
<h2 id="read-title">Read</h2>
<form id="read" autocomplete="off">
<div class="row">
<div class="field grow">
<label for="offset">Offset</label>
<input
id="offset"
type="text"
inputmode="numeric"
aria-describedby="read-fault"
/>
</div>
<button type="submit" class="primary">Read</button>
</div>
<p id="read-fault" class="fault" hidden></p>
<div class="row steps">
<button type="button" id="read-before">Previous</button>
<button type="button" id="read-after">Next</button>
<button type="button" id="read-newest">Newest</button>
</div>
</form>
<div id="read-result" class="result" role="status"></div>
</section>
</div>
</div>
</main>
<footer>
<p>
<a href="cluster">/cluster</a> <a href="metrics">/metrics</a>
<a href="readyz?verbose">/readyz</a> <a href="openapi.json">/openapi.json</a\
>
</p>
</footer>
<p id="announcer" class="hidden" aria-live="polite"></p>
</body>
</html>
`,
  "main.js": `import{announce as $,byId as s,clockTime as b,count as x,duration as r,make \
as h,
setText as p,short as w}from"./elements.js";import{ClusterView as P,dashboar\
dOf as V}from"./cluster.js";
import{Forms as D}from"./forms.js";import{Plot as A}from"./plots.js";import{
NewestRecords as F}from"./records.js";import{latencyOf as I,Samples as j,ste\
psOf as q}from"./samples.js";
const E=1e3,H=1e4,R=1e4,W=4e3,L=2e4,z=1e4,k=new j,B=new P,O=new D,G=new F(e=\
>{
s("read-card").scrollIntoView({block:"nearest"}),O.read(e)}),J=new A(s("rate\
\\
-plot"),{lines:[{name:"rate",value:e=>e.rate}],format:w,max:10}),K=new A(s("\
\\
latency-plot"),{lines:[{name:"p50",value:e=>e.p50},{name:"p99",value:e=>e.p9\
9}],
format:r,max:.01});let m=0,d=0,y=0,T=0,v=["",""],N,M=!1;async function S(e){
return await fetch(e,{cache:"no-store",signal:AbortSignal.timeout(W)})}async\
 function g(){
if(clearTimeout(N),M)return;M=!0;try{const[t,o]=await Promise.all([S("cluste\
\\
r"),S("metrics")]),a=await t.json();if(!t.ok)throw new Error(a.detail);const\
 i=o.
ok?await o.text():void 0;Q(a,i)}catch(t){U(t)}finally{M=!1}const e=Math.min(
R,E*2**Math.min(m-1,10)),n=m>0?e:document.hidden?H:E;N=setTimeout(()=>{g()},
n),m>0&&X(n)}function Q(e,n){m>0&&$("The connection is back."),m=0,d=Date.no\
w(),
document.documentElement.classList.remove("stale"),s("banner").hidden=!0,p(s\
(
"freshness"),"Live"),B.show(e),G.follow(e.endOffset),O.follow(e.endOffset);c\
onst t=n===
void 0?void 0:I(n);k.add({atMs:d,endOffset:e.endOffset,latency:t}),Y(),Z(e,n\
!==
void 0),ne(e.endOffset)}function U(e){m+=1,e instanceof TypeError||e instanc\
eof
DOMException||console.warn(e)}function X(e){const n=d===0?"":\` What is show\
n\\
 is from \${b(d)}.\`,t=\`The node does not answer; it is asked again every \$\
{r(
e/1e3)}.\`;document.documentElement.classList.add("stale"),document.title="N\
o\\
 answer \\xB7 proglog",p(s("freshness"),d===0?"No answer":\`As of \${b(d)}\`\
),p(
s("banner-text"),\`\${t}\${n}\`),p(s("banner-title"),d===0?"No answer.":"Con\
nect\\
ion lost."),s("banner").hidden=!1}function Y(){const{points:e}=k,n=e.at(-1),
t=(f,_)=>{p(s(f),_??"\\u2013")},o=f=>f??void 0,[a,i,l]=[o(n?.rate),o(n?.p50)\
,
o(n?.p99)];t("rate-now",a===void 0?void 0:w(a)),t("p50-now",i===void 0?void \
0:
r(i)),t("p99-now",l===void 0?void 0:r(l));const c=Math.max(0,...e.map(f=>f.r\
ate??
0)),u=Math.max(0,...e.map(f=>f.p99??0));(performance.now()-y>L||v[0]==="")&&
(v=[\`Append rate, now \${w(a??0)} records per second, highest \${w(c)}.\`,u\
===0?
"Append latency: no append yet.":ee(i,l,u)]),J.show(e,d,v[0]??""),K.show(e,d\
,
v[1]??""),C()}function Z({leader:e,node:n},t){const o=s("latency-note"),a=e=\
==
null||e.id===n.id?void 0:V(e.httpAddr),l=e?.id===n.id?"Appends that this nod\
\\
e answered; estimated from buckets.":"Appends are measured by the node that \
\\
leads.",c=t?l:"This node serves no metrics.",u=o.querySelector("a");o.datase\
t.
told===c&&u?.getAttribute("href")===a||(o.dataset.told=c,o.replaceChildren(c\
),
a!==void 0&&o.append(" ",h("a",{href:a},\`See \${e?.name??""}\`),"."))}funct\
ion ee(e,n,t){
return\`Append latency, \${e===void 0||n===void 0?"no append now":\`now \${r\
(e)}\\
 for half of the appends, \${r(n)} for 99 of 100\`}; slowest \${r(t)}.\`}fun\
ction C(){
if(!s("values").open)return;const e=q(k.points,z).map(({atMs:n,rate:t,p50:o,
p99:a})=>{const i=(c,u)=>h("td",{class:"number"},c===null?"\\u2013":u(c)),l=\
h(
"th",{scope:"row"},b(n));return h("tr",{},l,i(t,w),i(o,r),i(a,r))});s("value\
\\
-rows").replaceChildren(...e)}function ne(e){const n=performance.now();if(n-
y<=L)return;const t=e-T;y>0&&t>0&&$(\`\${x(t)} new records; the log ends at \
of\\
fset \${x(e)}.\`),y=n,T=e}s("retry").addEventListener("click",()=>{g()}),s("\
va\\
lues").addEventListener("toggle",C),document.addEventListener("visibilitycha\
\\
nge",()=>{document.hidden||g()}),g();
`,
  "plots.js": `import{clockTime as x,make as M,setText as v}from"./elements.js";import{nice\
Above as w,
spanMs as m}from"./samples.js";const $="http://www.w3.org/2000/svg",p=132,y=\
"\\
Nothing measured yet",l={top:10,right:2,bottom:20,left:2};export class Plot{\
#d;#s=r(
"svg",{role:"img",height:String(p)});#i=M("p",{class:"tip","aria-hidden":"tr\
\\
ue"});#n;#o;#h=[];#l=0;#a=0;#t=0;#c;constructor(t,{lines:s,format:n,max:i}){
this.#d=t,this.#n=s,this.#o=n,this.#l=i,this.#i.hidden=!0,t.append(this.#s,t\
his.#i),
new ResizeObserver(()=>{this.#r()}).observe(t),t.addEventListener("pointermo\
\\
ve",e=>{const{left:a,width:c}=t.getBoundingClientRect();this.#c=Math.min(1,M\
ath.
max(0,(e.clientX-a)/c)),this.#r()}),t.addEventListener("pointerleave",()=>{t\
his.#c=
void 0,this.#r()})}show(t,s,n){this.#h=t,this.#a=s,this.#s.setAttribute("ari\
\\
a-label",n),this.#r()}#r(){if(this.#t=this.#d.clientWidth,this.#t===0)return\
;
const t=this.#n.flatMap(({value:i})=>this.#h.map(e=>i(e))),s=w(Math.max(this\
.#l,
...t.map(i=>i??0))),n=t.every(i=>i===null);this.#s.setAttribute("width",Stri\
ng(
this.#t)),this.#s.replaceChildren(...this.#g(s),...this.#f(),...this.#x(s)),
n&&this.#s.append(this.#m()),this.#v(s)}#g(t){return[0,.5,1].flatMap(s=>{con\
st n=String(
Math.round(this.#e(s*t,t))+.5),i=r("line",{class:"grid",x1:"0",x2:String(thi\
s.#t),
y1:n,y2:n});if(s===0)return[i];const e=r("text",{x:"0",y:String(Number(n)+12\
)},
this.#o(s*t));return[i,e]})}#m(){const t={x:String(this.#t/2),y:String(p*.3)\
,
"text-anchor":"middle"};return r("text",t,y)}#f(){const t=String(p-4),s=Stri\
ng(
this.#t);return[r("text",{x:"0",y:t},"5 min ago"),r("text",{x:s,y:t,"text-an\
\\
chor":"end"},"now")]}#x(t){return this.#n.flatMap((s,n)=>{const i=this.#M(s)\
,
e=i.map(h=>this.#u(h,t)).join(""),a=r("path",{class:\`line \${s.name}\`,d:e}\
);if(n>
0||this.#n.length>1)return[a];const c=this.#e(0,t),o=i.map(h=>{const[d=0,u=0\
]=[
h[0]?.x,h.at(-1)?.x];return\`\${this.#u(h,t)}L\${u} \${c}L\${d} \${c}Z\`});r\
eturn[r(
"path",{class:\`area \${s.name}\`,d:o.join("")}),a]})}#M({value:t}){const s=\
[[]];
for(const n of this.#h){const i=t(n);i===null?s.push([]):s.at(-1)?.push({x:t\
his.#p(
n.atMs),value:i})}return s.filter(n=>n.length>0)}#u(t,s){const n=t.map(({x:i\
,
value:e})=>\`\${i} \${this.#e(e,s).toFixed(1)}\`);return\`M\${n.join("L")}\$\
{n.length===
1?"h0":""}\`}#v(t){const s=this.#c,n=this.#a-m*(1-(s??0)),i=this.#h.reduce((\
o,h)=>o===
void 0||Math.abs(h.atMs-n)<Math.abs(o.atMs-n)?h:o,void 0);if(this.#i.hidden=
s===void 0||i===void 0,s===void 0||i===void 0)return;const e=String(this.#p(
i.atMs)),a=String(this.#e(0,t));this.#s.append(r("line",{class:"cross",x1:e,
x2:e,y1:"0",y2:a}));const c=this.#n.map(({name:o,value:h})=>{const d=h(i),u=\
d===
null?"\\u2013":this.#o(d);if(d!==null){const f=String(this.#e(d,t));this.#s.\
append(
r("circle",{class:\`dot \${o}\`,cx:e,cy:f,r:"3.5"}))}return this.#n.length>1\
?\`\${o}\\
 \${u}\`:u});v(this.#i,\`\${x(i.atMs)}  \${c.join("  ")}\`),this.#i.classLis\
t.toggle(
"left",Number(e)>this.#t/2)}#p(t){const s=this.#t-l.left-l.right,n=1-(this.#\
a-
t)/m;return Math.round((l.left+Math.max(0,n)*s)*10)/10}#e(t,s){const n=p-l.t\
op-
l.bottom;return l.top+n*(1-Math.min(1,t/s))}}function r(g,t,...s){const n=do\
cument.
createElementNS($,g);for(const[i,e]of Object.entries(t))n.setAttribute(i,e);
return n.append(...s),n}
`,
  "record-text.js": `export function recordOf(s){const e=JSON.parse(s),t=typeof e.message=="strin\
\\
g";return{offset:e.offset,timestampMs:Date.parse(e.timestamp),key:e.key,head\
ers:Object.
entries(e.headers??{}),message:t?e.message:a(s,e),form:e.encoding==="base64"\
?
"base64":t?"text":"JSON"}}function a(s,e){const{offset:t,message:f,timestamp\
:r,
key:i,headers:o}=e,u=\`{"offset":\${t},"message":\`,n=JSON.stringify({timest\
amp:r,
key:i,headers:o}).replace("{",",");return s.startsWith(u)&&s.endsWith(n)?s.s\
lice(
u.length,-n.length):JSON.stringify(f)}const c=/[\\u0000-\\u0008\\u000b-\\u00\
1f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b-\\u200f\\u2028-\\u202e\\u2060-\
\\u206f\\ufeff\\ufff9-\\ufffb]|[\\ud800-\\udbff](?![\\udc00-\\udfff])|(?<![\\\
ud800-\\udbff])[\\udc00-\\udfff]/g;
export function visible(s,e=1/0){return(s.length>e?s.slice(0,e):s).replace(c\
,
f=>\`\\\\u\${f.charCodeAt(0).toString(16).padStart(4,"0").toUpperCase()}\`)}
`,
  "records.js": `import{byId as a,clockTime as y,count as d,make as e,setText as l}from"./ele\
ments.js";
import{recordOf as L,visible as m}from"./record-text.js";const f=100,$=20,x=\
250,
S=5e3,N=2e3,g=600;export class NewestRecords{#i=a("records");#c=a("records-n\
\\
ote");#d=a("pause");#l;#t;#f=-1/0;#n=[];#o=-1;#s=-1;#e=!1;#r="";#p;construct\
or(t){
this.#l=t,this.#d.addEventListener("click",()=>{this.#e=!this.#e,l(this.#d,t\
his.#e?
"Resume":"Pause"),this.#n=[],this.#s=this.#o,this.#a()}),document.addEventLi\
stener(
"visibilitychange",()=>{this.#a()}),this.#a()}follow(t){const s=performance.
now()-this.#f>N,i=this.#t?.readyState===EventSource.CLOSED,n=t-this.#s>S&&th\
is.#s>=
0;s&&this.#t!==void 0&&(i||n)&&this.#m(t),this.#h()}#a(){this.#e||document.h\
idden?
this.#u():this.#t===void 0&&this.#m(),this.#h()}#u(){this.#t?.close(),this.#\
t=
void 0}#m(t){this.#u();const s=this.#s+1,n=s>0&&t!==void 0&&t-s<f?String(s):
\`-\${s>0?f:$}\`,o=new EventSource(\`Data?from=\${n}&consistency=local\`);th\
is.#t=
o,this.#f=performance.now(),o.addEventListener("message",({lastEventId:h,dat\
a:r})=>{
this.#w({offset:Number(h),text:r})}),o.addEventListener("problem",h=>{const{
title:r,detail:p}=JSON.parse(h.data);this.#r=\`\${r}. \${p}\`}),o.addEventLi\
stener(
"open",()=>{this.#r="",this.#h()}),o.addEventListener("error",()=>{this.#h()\
})}#w(t){
t.offset<=this.#s||(this.#s=t.offset,this.#n.push(t),this.#n.length>f&&this.\
#n.
shift(),this.#p??=setTimeout(()=>{this.#p=void 0,this.#v()},x))}#v(){const t\
=this.#n.
splice(0);for(const{offset:s,text:i}of t){const n=s-this.#o-1;this.#o>=0&&n>
0&&this.#i.prepend(O(n)),this.#i.prepend(this.#E(L(i))),this.#o=s}for(;this.\
#i.
childElementCount>f;)this.#i.lastElementChild?.remove();this.#h()}#E({offset\
:t,
timestampMs:s,key:i,message:n,form:o}){const h=e("button",{type:"button",cla\
ss:"\\
link"},d(t));h.setAttribute("aria-label",\`Read offset \${t}\`),h.addEventLi\
stener(
"click",()=>{this.#l(t)});const r=new Date(s).toISOString(),p=y(s,{milliseco\
nds:!0}),
b=e("time",{datetime:r,title:r},p),u=m(n,g),v=e("span",{class:"message",dir:\
"\\
ltr"},u===""?"empty":u);v.classList.toggle("none",u==="");const c=e("td",{},
v);i!==void 0&&c.prepend(e("span",{class:"chip mono",title:"Key"},m(i,80)),"\
\\
 ");const E=n.length-g;return E>0&&c.append(e("span",{class:"note"},\` \\u20\
26 \${d(
E)} more characters\`)),o==="base64"&&c.append(e("span",{class:"note"}," bas\
e\\
64")),e("tr",{},e("th",{scope:"row"},h," ",b),c)}#h(){const s=this.#i.childE\
lementCount===
0?"There is no record yet.":\`Newest at offset \${d(this.#o)}.\`,i=this.#t?.\
readyState===
EventSource.OPEN;this.#e?l(this.#c,\`Paused. \${s}\`):this.#r!==""?l(this.#c\
,m(
this.#r,300)):l(this.#c,i?\`Live. \${s}\`:\`Connecting. \${s}\`),a("records-\
card").
classList.toggle("live",i&&!this.#e)}}function O(w){const t=\`\${d(w)} not s\
ho\\
wn\`;return e("tr",{class:"gap"},e("td",{colspan:"2"},t))}
`,
  "samples.js": `export const spanMs=3e5;const w=15e3,g=5e3;export function latencyOf(t){cons\
t n=[],
o=[];for(const s of t.split(\`
\`)){if(!s.startsWith("proglog_append_seconds_bucket{"))continue;const e=/[{\
,]le="([^"]+)".*\\} (\\d+)/.
exec(s);e===null||!s.includes('outcome="applied"')||(n.push(e[1]==="+Inf"?1/\
0:
Number(e[1])),o.push(Number(e[2])))}return{bounds:n,counts:o}}export functio\
n percentile(t,n,o){
if(t===void 0||n===void 0)return null;const s=n.counts.map((c,l)=>c-(t.count\
s[l]??
0)),e=s.at(-1)??0;if(e<=0||s.some(c=>c<0))return null;const i=e*o,u=s.findIn\
dex(
c=>c>=i),r=n.bounds[u-1]??0,f=n.bounds[u]??1/0;if(f===1/0)return r;const d=s\
[u-
1]??0;return r+(f-r)*(i-d)/((s[u]??0)-d)}export class Samples{#n=[];points=[\
];add(n){
const o=this.#n.at(-1),s=this.#n.find(({atMs:c})=>c>=n.atMs-5e3)??o,e=o===vo\
id 0||
n.atMs-o.atMs>15e3,i=e?null:h(o,n),u=e?[void 0,void 0]:[s?.latency,n.latency\
],
[r,f]=[.5,.99].map(c=>percentile(u[0],u[1],c));this.#n.push(n),this.points.p\
ush(
{atMs:n.atMs,rate:i,p50:r??null,p99:f??null});const d=n.atMs-3e5;for(;(this.\
#n[0]?.
atMs??1/0)<d;)this.#n.shift(),this.points.shift()}}function h(t,n){const o=(\
n.
atMs-t.atMs)/1e3,s=n.endOffset-t.endOffset;return o<=0||s<0?null:s/o}export \
function niceAbove(t){
if(!(t>0))return 1;const n=10**Math.floor(Math.log10(t));return([1,2,5,10].f\
ind(
s=>s*n>=t*(1-1e-9))??10)*n}export function stepsOf(t,n){const o=new Map;for(\
const s of t){
const e=Math.floor(s.atMs/n)*n,i=o.get(e);i===void 0?o.set(e,[s]):i.push(s)}
return[...o].map(([s,e])=>({atMs:s,rate:M(p(e.map(({rate:i})=>i))),p50:a(p(e\
.
map(({p50:i})=>i))),p99:a(p(e.map(({p99:i})=>i)))})).reverse()}function p(t)\
{
return t.flatMap(n=>n===null?[]:[n])}function M(t){return t.length===0?null:
t.reduce((n,o)=>n+o,0)/t.length}function a(t){return t.length===0?null:Math.
max(...t)}
`,
};
