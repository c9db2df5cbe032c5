/** @module Whether a text has one of JSON Schema's formats. What is not known has any: formats may be but remarks. */

const octet = "(?:25[0-5]|2[0-4]\\d|1?\\d?\\d)";
const time = /^(?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d{1,12})?(?:[zZ]|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/u;
const hostLabel = /^[a-z\d](?:[a-z\d-]{0,61}[a-z\d])?$/iu;
const ipv4 = new RegExp(`^${octet}(?:\\.${octet}){3}$`, "u");
/** No longer texts are looked at. */
const longest = 4_096;

const formats: Readonly<Record<string, (text: string) => boolean>> = {
  date: isDate,
  time: (text) => time.test(text),
  "date-time": (text) => /^.{10}[tT ]/u.test(text) && isDate(text.slice(0, 10)) && time.test(text.slice(11)),
  duration: (text) =>
    /^P(?=.)(?:\d{1,9}W|(?:\d{1,9}Y)?(?:\d{1,9}M)?(?:\d{1,9}D)?(?:T(?=.)(?:\d{1,9}H)?(?:\d{1,9}M)?(?:\d{1,9}(?:\.\d{1,9})?S)?)?)$/u.test(
      text,
    ),
  email: isEmail,
  hostname: isHostname,
  ipv4: (text) => ipv4.test(text),
  ipv6: isIpv6,
  ip: (text) => ipv4.test(text) || isIpv6(text),
  "json-pointer": (text) => /^(?:\/(?:[^~/]|~[01]){0,4096}){0,4096}$/u.test(text),
  uuid: (text) => /^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/iu.test(text),
  uri: (text) => /^[a-z][a-z\d+.-]{0,30}:[^\s<>"{}|\\^`]{1,4000}$/iu.test(text),
};

export function hasFormat(text: string, format: string): boolean {
  const check = Object.hasOwn(formats, format) ? formats[format] : undefined;
  return check === undefined || text.length > longest || check(text);
}

function isDate(text: string): boolean {
  if (!/^\d{4}-\d{2}-\d{2}$/u.test(text)) return false;
  const [year = 0, month = 0, day = 0] = text.split("-").map(Number);
  const isLeap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  const days = [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1];
  return days !== undefined && day >= 1 && day <= days;
}

function isEmail(text: string): boolean {
  const at = text.lastIndexOf("@");
  return at > 0 && at <= 64 && /^[^\s@]+$/u.test(text.slice(0, at)) && isHostname(text.slice(at + 1));
}

function isHostname(text: string): boolean {
  return text.length <= 253 && text.split(".").every((label) => hostLabel.test(label));
}

function isIpv6(text: string): boolean {
  if (text.length > 45) return false;
  const [head = "", tail, ...more] = text.split("::");
  if (more.length > 0) return false;
  const groups = [head, tail ?? ""].flatMap((side) => (side === "" ? [] : side.split(":")));
  const last = groups.at(-1) ?? "";
  const isMixed = last.includes(".");
  if (isMixed && !ipv4.test(last)) return false;
  const hex = isMixed ? groups.slice(0, -1) : groups;
  const count = hex.length + (isMixed ? 2 : 0);
  return hex.every((group) => /^[\da-f]{1,4}$/iu.test(group)) && (tail === undefined ? count === 8 : count < 8);
}
