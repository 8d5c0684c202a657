import packageFile from '../package.json' with { type: 'json' };

/** The version of this Posthorn, as in package.json. */
export const version = packageFile.version;
