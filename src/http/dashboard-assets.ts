/**
 * The dashboard's files as a browser is sent them, by name. Generated from src/http/dashboard by
 * scripts/dashboard.ts: change the files there, and run it.
 */

export const dashboardAssets: Readonly<Record<string, string>> = {
  "cluster.js": `import{ago as $,announce as x,byId as c,count as m,make as d,setText as s}fr\
om"./elements.js";
const k=1e3;export function verdictOf(t){const{leader:e,members:o,node:i,quo\
rum:n,
readOnly:h}=t,l=o.filter(({alive:f})=>!f);if(e===null)return{kind:"bad",titl\
e:n?
"No leader":"No leader, no quorum",text:"Writes are refused until one is ele\
\\
cted; reads of what is here go on."};if(!n)return{kind:"bad",title:"No quoru\
\\
m",text:"Fewer than half of the voters are in reach: writes are refused, rea\
\\
ds go on."};if(h)return{kind:"bad",title:"Read-only",text:\`\${e.name} leads\
 a\\
nd refuses writes: its disk is full, or nearly.\`};if(t.source==="local"&&e.\
id!==
i.id)return{kind:"warn",title:"The leader does not answer",text:\`\${i.name}\
 g\\
ets no answer from \${e.name}. What is below, it knows alone.\`};const a=\`\$\
{e.
name} leads\`;if(l.length>0){const f=l.map(({name:p})=>p).join(", "),w=\`\${\
a};\\
 not in reach: \${f}. The others make a quorum.\`;return{kind:"warn",title:\`\
\${l.
length} of \${o.length} not in reach\`,text:w}}const r=o.length===1?"it is t\
he\\
 only member":\`all \${o.length} are in reach\`;return{kind:"good",title:"He\
alt\\
hy",text:\`\${a}, \${r}.\`}}export class ClusterView{#e=new Map;#t="";show(e\
){const{
leader:o,node:i}=e,n=verdictOf(e);document.title=\`\${i.name}: \${n.title} \\\
xB7 pr\\
oglog\`,s(c("node-name"),i.name),s(c("state-title"),n.title),s(c("state-text\
"),
n.text),c("state-mark").className=\`mark \${n.kind}\`,s(c("fact-leader"),o?.\
name??
"none"),s(c("fact-term"),m(e.term)),s(c("fact-end"),m(e.endOffset)),s(c("fac\
\\
t-commit"),m(e.commitIndex));const h=e.readOnly||o===null;s(c("fact-writes")\
,
h?"refused":"accepted"),s(c("fact-cluster"),e.clusterId??"none yet"),this.#n\
(
e);const l=\`\${n.title}. \${n.text}\`;l!==this.#t&&x(l),this.#t=l}#n({membe\
rs:e,
node:o,source:i}){const n=new Set(e.map(({id:a})=>a));for(const[a,r]of this.\
#e)
n.has(a)||(r.remove(),this.#e.delete(a));for(const a of e){let r=this.#e.get\
(
a.id);r===void 0&&(r=A(),this.#e.set(a.id,r),c("members").append(r)),y(r,a,{
isSelf:a.id===o.id})}const h=i==="leader"?"As the leader knows it":\`As \${o\
.name}\\
 alone knows it: there is no contact with a leader\`,l=e.some(({id:a,role:r}\
)=>a===
o.id&&r==="leader");s(c("members-caption"),l?"As this node, the leader, know\
\\
s it":h)}}function A(){const t=d("th",{scope:"row"});t.append(d("span",{clas\
s:"\\
name"}),d("span",{class:"sub mono"}));const e=d("td",{},d("span",{class:"chi\
\\
p"}),d("span",{class:"sub"})),o=d("td",{},d("span",{class:"health"}),d("span\
",
{class:"sub"})),i=d("td",{class:"number"}),n=d("td",{class:"number spare"});
return d("tr",{},t,e,o,i,n,d("td",{class:"mono spare"}))}function y(t,e,{isS\
elf:o}){
const[i,n,h,l,a,r]=[...t.children],f=p=>u(p,1);b(u(i,0),e,o),s(f(i),o?\`\${e\
.httpAddr}\\
 \\xB7 this node\`:e.httpAddr),s(u(n,0),e.role),u(n,0).className=\`chip \${e\
.role}\`,
s(f(n),e.voter?"voter":"no vote"),s(u(h,0),e.alive?"in reach":"not in reach"\
),
u(h,0).className=\`health \${e.alive?"good":"bad"}\`;const{lastContactMs:w}=\
e;s(
f(h),w===null?"":w===0?"now":$(w)),g(l,e.lag),l?.classList.toggle("behind",(\
e.
lag??0)>=k),g(a,e.matchIndex),r!==void 0&&s(r,e.rpcAddr)}function g(t,e){t!=\
=
void 0&&(s(t,e===null?"unknown":m(e)),t.classList.toggle("none",e===null))}f\
unction u(t,e){
return t?.children[e]}function b(t,{name:e,httpAddr:o},i){const n=i?void 0:d\
ashboardOf(
o),h=t.firstElementChild;t.textContent===e&&(h?.getAttribute("href")??void 0\
)===
n||(n===void 0?t.textContent=e:t.replaceChildren(d("a",{href:n},e)))}export \
function dashboardOf(t){
return/^(?:[A-Za-z0-9._-]{1,253}|\\[[0-9A-Fa-f:.]{2,45}\\]):\\d{1,5}$/.test(\
t)?
\`http://\${t}/\`:void 0}
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
font-size:.8125rem}.none{color:var(--soft);font-style:italic}.sub{display:bl\
ock}
.good{color:var(--good)}.bad{color:var(--bad)}.chip{display:inline-block;pad\
ding:0
.5em;border:1px solid var(--line);border-radius:1em;background:var(--sunk);c\
olor:var(--soft);
font-size:.8125rem;overflow-wrap:anywhere}.chip.leader{border-color:var(--ac\
cent);
background:var(--accent);color:var(--on-accent)}.top{display:flex;align-item\
s:center;
gap:.75rem;padding:1rem 0}.top h1{flex:1;min-width:0;padding-left:.75rem;bor\
der-left:1px
solid var(--line);font-size:1rem;overflow-wrap:anywhere}.brand{display:flex;
align-items:center;gap:.5rem;font-weight:700;letter-spacing:-.01em}#freshnes\
s:before,
#records-title:before,.health:before{content:"";display:inline-block;width:.\
5rem;
height:.5rem;margin-right:.4em;border-radius:50%;background:currentcolor}#fr\
eshness{
border-color:transparent;background:var(--good-ground);color:var(--good);whi\
te-space:nowrap}
.stale #freshness{background:var(--bad-ground);color:var(--bad)}footer{paddi\
ng-top:1.25rem;
font:.8125rem var(--mono)}footer a{display:inline-block;margin-right:1rem;pa\
dding:.25rem
0}main{display:grid;gap:1rem}main>*,.columns>*,.stack>*,.plots>*{min-width:0\
}
.card{padding:1rem 1.25rem;border:1px solid var(--line);border-radius:.625re\
m;
background:var(--card)}.stale .state,.stale .plots .card,.stale .state~.card\
{
border:1px dashed var(--edge);filter:grayscale(1)}.banner{display:flex;flex-\
wrap:wrap;
align-items:center;justify-content:space-between;gap:.5rem 1rem;padding:.75r\
em
1.25rem;border:1px solid currentcolor;border-radius:.625rem;background:var(-\
-bad-ground)}
.head{display:flex;align-items:center;justify-content:space-between;gap:1rem\
}
.verdict{display:flex;gap:.75rem}.verdict h2{font-size:1.25rem;line-height:1\
.3}
.verdict p{color:var(--soft)}.mark{flex:none;width:1.75rem;height:1.75rem;bo\
rder-radius:50%;
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
.behind{color:var(--warn);font-weight:600}.health{white-space:nowrap}.plots{
display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:1rem}.plots d\
etails{
grid-column:1 / -1;padding-block:.5rem}summary{padding-block:.25rem;cursor:p\
ointer}
figcaption{display:flex;flex-wrap:wrap;align-items:baseline;justify-content:\
space-between;
gap:0 1rem;margin-bottom:.5rem}.now{color:var(--soft);font-size:.8125rem;fon\
t-variant-numeric:tabular-nums}
.now output{color:var(--text);font-size:1.0625rem;font-weight:600}.key:befor\
e{
content:"";display:inline-block;width:.875rem;margin:0 .25rem .25em .5rem;bo\
rder-top:2px
solid var(--accent)}.key.p99:before{border-top:2px dashed var(--second)}.plo\
t{
position:relative;height:132px;touch-action:pan-y}.plot svg{display:block;ov\
erflow:visible}
.plot text{fill:var(--soft);stroke:var(--card);stroke-width:3px;paint-order:\
stroke;
font-size:11px;font-variant-numeric:tabular-nums}.grid{stroke:var(--line)}.l\
ine{
fill:none;stroke:var(--accent);stroke-width:1.75;stroke-linecap:round;stroke\
-linejoin:round}
.line.p99{stroke:var(--second);stroke-dasharray:4 3}.area{fill:var(--accent)\
;
opacity:.13}.cross{stroke:var(--edge);stroke-dasharray:2 2}.dot{fill:var(--a\
ccent);
stroke:var(--card);stroke-width:1.5}.dot.p99{fill:var(--second)}.tip{positio\
n:absolute;
top:0;right:0;padding:0 .5rem;border:1px solid var(--line);border-radius:.25\
rem;
background:var(--card);font-size:.8125rem;font-variant-numeric:tabular-nums;
white-space:pre;pointer-events:none}.tip.left{right:auto;left:2.5rem}.column\
s{
display:grid;grid-template-columns:minmax(0,3fr) minmax(0,2fr);gap:1rem}.sta\
ck{
display:grid;gap:1rem;align-content:start}#records-card{display:flex;flex-di\
rection:column}
#records-title:before{background:var(--edge)}.live #records-title:before{bac\
kground:var(--good)}
.scroller{flex:1 1 26rem;height:26rem;margin:.5rem -1.25rem -1rem;padding:0 \
1.25rem;
overflow:auto;border-top:1px solid var(--line)}.scroller:focus-visible{outli\
ne-offset:-2px}
.records{table-layout:fixed}.records tr:first-child>*{border-top:0}.records \
th{
width:12.5rem;font-variant-numeric:tabular-nums}.records time{float:right;co\
lor:var(--soft);
font-size:.8125rem}.records td{overflow-wrap:anywhere}.message{display:-webk\
it-box;
overflow:hidden;font:.8125rem/1.6 var(--mono);unicode-bidi:isolate;white-spa\
ce:pre-wrap;
-webkit-box-orient:vertical;-webkit-line-clamp:4}.gap td{color:var(--soft);f\
ont-size:.8125rem;
text-align:center}form{display:grid;gap:.75rem;margin-top:.5rem}.row{display\
:flex;
flex-wrap:wrap;align-items:end;gap:.75rem}.grow{flex:1;min-width:7rem}.field\
,
legend{font-size:.8125rem;color:var(--soft)}.field input,textarea{display:bl\
ock;
width:100%;min-height:2.25rem;padding:.375rem .625rem;border:1px solid var(-\
-edge);
border-radius:.375rem;background:var(--sunk);color:var(--text);font:.875rem/\
1.5
var(--mono)}textarea{resize:vertical}[aria-invalid]{border-color:var(--bad)!\
important}
fieldset{min-width:0;padding:0;border:0}fieldset label{display:inline-flex;a\
lign-items:center;
gap:.25rem;min-height:2.25rem;margin-right:.75rem}input[type=radio]{margin:0\
;
accent-color:var(--accent)}button{min-height:2.25rem;padding:0 .875rem;borde\
r:1px
solid var(--edge);border-radius:.375rem;background:var(--card);color:var(--t\
ext);
font:inherit;font-size:.875rem;cursor:pointer}button:hover{background:var(--\
sunk)}
button.primary{border-color:var(--accent);background:var(--accent);color:var\
(--on-accent);
font-weight:600}button.primary:hover{filter:brightness(1.08)}button:disabled\
{
cursor:progress}button.link{min-height:0;padding:0;border:0;background:none;
color:var(--accent);font-size:inherit;text-decoration:underline;text-decorat\
ion-thickness:1px;
text-underline-offset:.2em}.head button{min-height:2rem}.fault,.result{font-\
size:.875rem;
overflow-wrap:anywhere}.fault{color:var(--bad)}.result>*{margin-top:.75rem}.\
fields{
display:grid;grid-template-columns:repeat(auto-fill,minmax(8rem,1fr));gap:.5\
rem
1rem}pre{max-height:20rem;margin-bottom:0;padding:.625rem;overflow:auto;bord\
er-radius:.375rem;
background:var(--sunk);font:.8125rem/1.6 var(--mono);overflow-wrap:anywhere;
unicode-bidi:isolate;white-space:pre-wrap}@media(max-width:52rem){.columns,.\
plots{
grid-template-columns:minmax(0,1fr)}.facts{grid-template-columns:repeat(3,mi\
nmax(0,auto))}
.facts .wide{grid-column:1 / -1}.spare{display:none}.members .number{padding\
-right:0}}
@media(max-width:30rem){body{padding-inline:.75rem}.card,.banner{padding-inl\
ine:.875rem}
.scroller{margin-inline:-.875rem;padding-inline:.875rem}th,td{padding-right:\
.5rem}
.unit{display:none}.members .mono{font-size:.75rem;overflow-wrap:anywhere}.r\
ecords
th{width:6.5rem}.records time{display:block;float:none}button,.field input,f\
ieldset
label{min-height:2.75rem}button.link{min-height:1.5rem}.steps button{flex:1}\
}
@media(prefers-reduced-motion:no-preference){.records tr:first-child{animati\
on:arrive
.6s ease-out}@keyframes arrive{0%{background:var(--good-ground)}}}
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
<p><strong>Connection lost.</strong> <span id="banner-text"></span></p>
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
<p class="note">Records committed, as this node applied them.</p>
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
<details id="values" class="card">
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
<thead class="hidden">
<tr>
<th scope="col">Offset and time</th>
<th scope="col">Key and message</th>
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
<label for="key">Key <span class="note">optional</span></label>
<input id="key" type="text" spellcheck="false" />
</div>
</div>
<button type="submit" class="primary" id="append-button">Append</button>
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
  "main.js": `import{announce as x,byId as o,clockTime as k,count as E,duration as r,make \
as M,
setText as m,short as w}from"./elements.js";import{ClusterView as D}from"./c\
luster.js";
import{Forms as F}from"./forms.js";import{Plot as A}from"./plots.js";import{
NewestRecords as I}from"./records.js";import{latencyOf as j,Samples as H,ste\
psOf as R}from"./samples.js";
const O=1e3,W=1e4,q=1e4,z=4e3,T=2e4,B=1e4,$=new H,G=new D,L=new F,J=new I(e=\
>{
o("read-card").scrollIntoView({block:"nearest"}),L.read(e)}),K=new A(o("rate\
\\
-plot"),{lines:[{name:"rate",value:e=>e.rate}],format:w}),Q=new A(o("latency\
\\
-plot"),{lines:[{name:"p50",value:e=>e.p50},{name:"p99",value:e=>e.p99}],for\
mat:r});
let f=0,c=0,p=0,_=0,h=["",""],N,b=!1;async function P(e){return await fetch(
e,{cache:"no-store",signal:AbortSignal.timeout(z)})}async function v(){if(cl\
earTimeout(
N),b)return;b=!0;try{const[t,s]=await Promise.all([P("cluster"),P("metrics")\
]),
i=await t.json();if(!t.ok)throw new Error(i.detail);const a=s.ok?await s.tex\
t():
void 0;U(i,a)}catch(t){X(t)}finally{b=!1}const e=Math.min(q,O*2**Math.min(f-
1,10)),n=f>0?e:document.hidden?W:O;N=setTimeout(()=>{v()},n),f>0&&Y(n)}funct\
ion U(e,n){
f>0&&x("The connection is back."),f=0,c=Date.now(),document.documentElement.
classList.remove("stale"),o("banner").hidden=!0,m(o("freshness"),"Live"),G.s\
how(
e),J.follow(e.endOffset),L.follow(e.endOffset);const t=n===void 0?void 0:j(n\
);
$.add({atMs:c,endOffset:e.endOffset,latency:t}),Z(n!==void 0),ne(e.endOffset\
)}
function X(e){f+=1,e instanceof TypeError||e instanceof DOMException||consol\
e.
warn(e)}function Y(e){const n=c===0?"":\` What is shown is from \${k(c)}.\`,\
t=\`\\
The node does not answer; it is asked again every \${r(e/1e3)}.\`;document.d\
ocumentElement.
classList.add("stale"),m(o("freshness"),c===0?"No answer":\`As of \${k(c)}\`\
),m(
o("banner-text"),\`\${t}\${n}\`),o("banner").hidden=!1}function Z(e){const{p\
oints:n}=$,
t=n.at(-1),s=(d,C)=>{m(o(d),C??"\\u2013")},i=d=>d??void 0,[a,u,l]=[i(t?.rate\
),
i(t?.p50),i(t?.p99)];s("rate-now",a===void 0?void 0:w(a)),s("p50-now",u===vo\
id 0?
void 0:r(u)),s("p99-now",l===void 0?void 0:r(l));const y=Math.max(0,...n.map\
(
d=>d.rate??0)),g=Math.max(0,...n.map(d=>d.p99??0));(performance.now()-p>T||h\
[0]===
"")&&(h=[\`Append rate, now \${w(a??0)} records per second, highest \${w(y)}\
.\`,
g===0?"Append latency: no append yet.":ee(u,l,g)]),K.show(n,c,h[0]??""),Q.sh\
ow(
n,c,h[1]??"");const V=e?"Appends that this node answered; estimated from buc\
\\
kets.":"This node serves no metrics.";m(o("latency-note"),V),S()}function ee\
(e,n,t){
return\`Append latency, \${e===void 0||n===void 0?"no append now":\`now \${r\
(e)}\\
 for half of the appends, \${r(n)} for 99 of 100\`}; slowest \${r(t)}.\`}fun\
ction S(){
if(!o("values").open)return;const e=R($.points,B).map(({atMs:n,rate:t,p50:s,
p99:i})=>{const a=(l,y)=>M("td",{class:"number"},l===null?"\\u2013":y(l)),u=\
M(
"th",{scope:"row"},k(n));return M("tr",{},u,a(t,w),a(s,r),a(i,r))});o("value\
\\
-rows").replaceChildren(...e)}function ne(e){const n=performance.now();if(n-
p<=T)return;const t=e-_;p>0&&t>0&&x(\`\${E(t)} new records; the log ends at \
of\\
fset \${E(e)}.\`),p=n,_=e}o("retry").addEventListener("click",()=>{v()}),o("\
va\\
lues").addEventListener("toggle",S),document.addEventListener("visibilitycha\
\\
nge",()=>{document.hidden||v()}),v();
`,
  "plots.js": `import{clockTime as M,make as x,setText as w}from"./elements.js";import{nice\
Above as v,
spanMs as g}from"./samples.js";const $="http://www.w3.org/2000/svg",p=132,d=\
{
top:10,right:2,bottom:20,left:2};export class Plot{#d;#s=r("svg",{role:"img"\
,
height:String(p)});#i=x("p",{class:"tip","aria-hidden":"true"});#n;#o;#h=[];\
#a=0;#t=0;#c;constructor(t,{
lines:s,format:n}){this.#d=t,this.#n=s,this.#o=n,this.#i.hidden=!0,t.append(
this.#s,this.#i),new ResizeObserver(()=>{this.#r()}).observe(t),t.addEventLi\
stener(
"pointermove",i=>{const{left:e,width:a}=t.getBoundingClientRect();this.#c=Ma\
th.
min(1,Math.max(0,(i.clientX-e)/a)),this.#r()}),t.addEventListener("pointerle\
\\
ave",()=>{this.#c=void 0,this.#r()})}show(t,s,n){this.#h=t,this.#a=s,this.#s\
.
setAttribute("aria-label",n),this.#r()}#r(){if(this.#t=this.#d.clientWidth,t\
his.#t===
0)return;const t=this.#n.flatMap(({value:n})=>this.#h.map(i=>n(i))),s=v(Math\
.
max(0,...t.map(n=>n??0)));this.#s.setAttribute("width",String(this.#t)),this\
.#s.
replaceChildren(...this.#p(s),...this.#f(),...this.#g(s)),this.#M(s)}#p(t){r\
eturn[
0,.5,1].flatMap(s=>{const n=String(Math.round(this.#e(s*t,t))+.5),i=r("line"\
,
{class:"grid",x1:"0",x2:String(this.#t),y1:n,y2:n});if(s===0)return[i];const\
 e=r(
"text",{x:"0",y:String(Number(n)+12)},this.#o(s*t));return[i,e]})}#f(){const\
 t=String(
p-4),s=String(this.#t);return[r("text",{x:"0",y:t},"5 min ago"),r("text",{x:\
s,
y:t,"text-anchor":"end"},"now")]}#g(t){return this.#n.flatMap((s,n)=>{const \
i=this.#m(
s),e=i.map(h=>this.#l(h,t)).join(""),a=r("path",{class:\`line \${s.name}\`,d\
:e});
if(n>0||this.#n.length>1)return[a];const l=this.#e(0,t),o=i.map(h=>{const[c=\
0,
u=0]=[h[0]?.x,h.at(-1)?.x];return\`\${this.#l(h,t)}L\${u} \${l}L\${c} \${l}Z\
\`});return[
r("path",{class:\`area \${s.name}\`,d:o.join("")}),a]})}#m({value:t}){const \
s=[
[]];for(const n of this.#h){const i=t(n);i===null?s.push([]):s.at(-1)?.push(
{x:this.#u(n.atMs),value:i})}return s.filter(n=>n.length>0)}#l(t,s){const n=\
t.
map(({x:i,value:e})=>\`\${i} \${this.#e(e,s).toFixed(1)}\`);return\`M\${n.jo\
in("L")}\${n.
length===1?"h0":""}\`}#M(t){const s=this.#c,n=this.#a-g*(1-(s??0)),i=this.#h\
.
reduce((o,h)=>o===void 0||Math.abs(h.atMs-n)<Math.abs(o.atMs-n)?h:o,void 0);
if(this.#i.hidden=s===void 0||i===void 0,s===void 0||i===void 0)return;const\
 e=String(
this.#u(i.atMs)),a=String(this.#e(0,t));this.#s.append(r("line",{class:"cros\
\\
s",x1:e,x2:e,y1:"0",y2:a}));const l=this.#n.map(({name:o,value:h})=>{const c\
=h(
i),u=c===null?"\\u2013":this.#o(c);if(c!==null){const m=String(this.#e(c,t))\
;
this.#s.append(r("circle",{class:\`dot \${o}\`,cx:e,cy:m,r:"3.5"}))}return t\
his.#n.
length>1?\`\${o} \${u}\`:u});w(this.#i,\`\${M(i.atMs)}  \${l.join("  ")}\`),\
this.#i.
classList.toggle("left",Number(e)>this.#t/2)}#u(t){const s=this.#t-d.left-d.
right,n=1-(this.#a-t)/g;return Math.round((d.left+Math.max(0,n)*s)*10)/10}#e\
(t,s){
const n=p-d.top-d.bottom;return d.top+n*(1-Math.min(1,t/s))}}function r(f,t,\
...s){
const n=document.createElementNS($,f);for(const[i,e]of Object.entries(t))n.s\
etAttribute(
i,e);return n.append(...s),n}
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
  "records.js": `import{byId as a,clockTime as L,count as d,make as e,setText as l}from"./ele\
ments.js";
import{recordOf as $,visible as m}from"./record-text.js";const f=100,x=20,S=\
250,
g=5e3,C=2e3,b=600;export class NewestRecords{#e=a("records");#c=a("records-n\
\\
ote");#d=a("pause");#l;#s;#f=-1/0;#i=[];#n=-1;#t=-1;#o=!1;#h="";#p;construct\
or(t){
this.#l=t,this.#d.addEventListener("click",()=>{this.#o=!this.#o,l(this.#d,t\
his.#o?
"Resume":"Pause"),this.#i=[],this.#t=this.#n,this.#a()}),document.addEventLi\
stener(
"visibilitychange",()=>{this.#a()}),this.#a()}get newest(){return this.#t}fo\
llow(t){
const s=performance.now()-this.#f>C,i=this.#s?.readyState===EventSource.CLOS\
ED,
n=t-this.#t>g&&this.#t>=0;t<=this.#t-g&&this.#w(),s&&this.#s!==void 0&&(i||n\
)&&
this.#m(t),this.#r()}#a(){this.#o||document.hidden?this.#u():this.#s===void \
0&&
this.#m(),this.#r()}#u(){this.#s?.close(),this.#s=void 0}#w(){this.#e.replac\
eChildren(),
this.#i=[],this.#t=-1,this.#n=-1}#m(t){this.#u();const s=this.#t+1,n=s>0&&t!\
==
void 0&&t-s<f?String(s):\`-\${s>0?f:x}\`,h=new EventSource(\`Data?from=\${n}\
&cons\\
istency=local\`);this.#s=h,this.#f=performance.now(),h.addEventListener("mes\
s\\
age",({lastEventId:o,data:r})=>{this.#v({offset:Number(o),text:r})}),h.addEv\
entListener(
"problem",o=>{const{title:r,detail:p}=JSON.parse(o.data);this.#h=\`\${r}. \$\
{p}\`}),
h.addEventListener("open",()=>{this.#h="",this.#r()})}#v(t){t.offset<=this.#\
t||
(this.#t=t.offset,this.#i.push(t),this.#i.length>f&&this.#i.shift(),this.#p?\
?=
setTimeout(()=>{this.#p=void 0,this.#E()},S))}#E(){const t=this.#i.splice(0)\
;
for(const{offset:s,text:i}of t){const n=s-this.#n-1;this.#n>=0&&n>0&&this.#e\
.
prepend(N(n)),this.#e.prepend(this.#g($(i))),this.#n=s}for(;this.#e.childEle\
mentCount>
f;)this.#e.lastElementChild?.remove();this.#r()}#g({offset:t,timestampMs:s,k\
ey:i,
message:n,form:h}){const o=e("button",{type:"button",class:"link"},d(t));o.s\
etAttribute(
"aria-label",\`Read offset \${t}\`),o.addEventListener("click",()=>{this.#l(\
t)});
const r=new Date(s).toISOString(),p=L(s,{milliseconds:!0}),y=e("time",{datet\
ime:r,
title:r},p),u=m(n,b),v=e("span",{class:"message",dir:"ltr"},u===""?"empty":u\
);
u===""&&v.classList.add("none");const c=e("td",{},v);i!==void 0&&c.prepend(e\
(
"span",{class:"chip mono",title:"Key"},m(i,80))," ");const E=n.length-b;retu\
rn E>
0&&c.append(e("span",{class:"note"},\` \\u2026 \${d(E)} more characters\`)),\
h===
"base64"&&c.append(e("span",{class:"note"}," base64")),e("tr",{},e("th",{sco\
pe:"\\
row"},o," ",y),c)}#r(){const s=this.#e.childElementCount===0?"There is no re\
\\
cord yet.":\`Newest at offset \${d(this.#n)}.\`,i=this.#s?.readyState===Even\
tSource.
OPEN;this.#o?l(this.#c,\`Paused. \${s}\`):this.#h!==""?l(this.#c,m(this.#h,3\
00)):
l(this.#c,i?\`Live. \${s}\`:\`Connecting. \${s}\`),a("records-card").classLi\
st.toggle(
"live",i&&!this.#o)}}function N(w){const t=\`\${d(w)} not shown\`;return e("\
tr",
{class:"gap"},e("td",{colspan:"2"},t))}
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
