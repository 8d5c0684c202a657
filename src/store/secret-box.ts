/** Encrypts what must not lie in the database in clear text. */
export interface SecretBox {
  encrypt(text: string): string;
  /** Throws when no known key fits or the ciphertext was altered. Recent answers are cached. */
  decrypt(ciphertext: string): string;
}
