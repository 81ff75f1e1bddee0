"""The gateway: owns the Socket.IO connections and nothing else."""
