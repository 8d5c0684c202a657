-- CreateTable
CREATE TABLE "cleanup_turns" (
    "id" SMALLINT NOT NULL DEFAULT 1,
    "taken_at" TIMESTAMPTZ(3),
    "done_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "cleanup_turns_pkey" PRIMARY KEY ("id"),
    CONSTRAINT "cleanup_turns_one_row" CHECK ("id" = 1)
);

INSERT INTO "cleanup_turns" DEFAULT VALUES;
