package admin

import "context"

// CheckpointOperation is the name of the operation that makes a copy of the database for a backup.
const CheckpointOperation = "backup.checkpoint"

// Checkpoint is a copy of the database as of one moment, in the folder "checkpoint" of the data folder.
type Checkpoint struct {
	Realm  string `json:"realm_id"` // hex
	Format uint32 `json:"format"`   // of the store
}

func (o *Operations) hasCheckpoint() bool { return o.Checkpoint != nil }

func (o *Operations) backupCheckpoint(ctx context.Context, _ *struct{}, emit emitter) error {
	made, err := o.Checkpoint(ctx)
	if err != nil {
		return err
	}
	return emit(made)
}
