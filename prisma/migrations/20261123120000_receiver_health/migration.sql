-- CreateEnum
CREATE TYPE "secret_algorithm" AS ENUM ('HMAC_SHA256', 'ED25519');

-- AlterTable
ALTER TABLE "webhooks" ADD COLUMN "sign_asymmetrically" BOOLEAN NOT NULL DEFAULT false,
ADD COLUMN "circuit_opened_at" TIMESTAMPTZ(3),
ADD COLUMN "circuit_open_until" TIMESTAMPTZ(3),
ADD COLUMN "circuit_open_count" SMALLINT NOT NULL DEFAULT 0;

-- AlterTable
ALTER TABLE "webhook_secrets" ADD COLUMN "algorithm" "secret_algorithm" NOT NULL DEFAULT 'HMAC_SHA256',
ADD COLUMN "public_key" TEXT;
