-- CreateEnum
CREATE TYPE "audit_actor_kind" AS ENUM ('API_KEY', 'ACCESS_TOKEN', 'ADMINISTRATOR');

-- CreateEnum
CREATE TYPE "recovery_status" AS ENUM ('RUNNING', 'COMPLETED', 'CANCELLED');

-- CreateTable
CREATE TABLE "event_types" (
    "id" UUID NOT NULL,
    "project_id" UUID NOT NULL,
    "name" TEXT NOT NULL,
    "description" TEXT,
    "schema" JSON,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "event_types_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "recoveries" (
    "id" UUID NOT NULL,
    "project_id" UUID NOT NULL,
    "status" "recovery_status" NOT NULL DEFAULT 'RUNNING',
    "filter" JSON NOT NULL,
    "since" TIMESTAMPTZ(3) NOT NULL,
    "until" TIMESTAMPTZ(3) NOT NULL,
    "dry_run" BOOLEAN NOT NULL DEFAULT false,
    "rate_per_second" INTEGER,
    "matched_count" INTEGER NOT NULL,
    "recovered_count" INTEGER NOT NULL DEFAULT 0,
    "passed_over_count" INTEGER NOT NULL DEFAULT 0,
    "position" UUID,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "progressed_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "finished_at" TIMESTAMPTZ(3),

    CONSTRAINT "recoveries_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "audit_entries" (
    "id" UUID NOT NULL,
    "project_id" UUID NOT NULL,
    "actor_kind" "audit_actor_kind" NOT NULL,
    "api_key_id" UUID,
    "action" TEXT NOT NULL,
    "target_id" TEXT,
    "request_id" TEXT,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "audit_entries_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "event_types_project_id_id_idx" ON "event_types"("project_id", "id");

-- CreateIndex
CREATE UNIQUE INDEX "event_types_project_id_name_key" ON "event_types"("project_id", "name");

-- CreateIndex
CREATE INDEX "recoveries_project_id_id_idx" ON "recoveries"("project_id", "id");

-- CreateIndex
CREATE INDEX "audit_entries_project_id_id_idx" ON "audit_entries"("project_id", "id");

-- AddForeignKey
ALTER TABLE "event_types" ADD CONSTRAINT "event_types_project_id_fkey" FOREIGN KEY ("project_id") REFERENCES "projects"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "recoveries" ADD CONSTRAINT "recoveries_project_id_fkey" FOREIGN KEY ("project_id") REFERENCES "projects"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "audit_entries" ADD CONSTRAINT "audit_entries_project_id_fkey" FOREIGN KEY ("project_id") REFERENCES "projects"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- What the workers look for: recoveries that are not done.
CREATE INDEX "recoveries_running" ON "recoveries"("id") WHERE "status" = 'RUNNING';
